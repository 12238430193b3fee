//! Differences between planes that are known, each with its reason.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Table};

use super::compare::Aspect;
use crate::{plane::Plane, scenario::words::PLANES};

/// The name of the file that lists them, in the folder of the scenarios.
pub const KNOWN_FILE: &str = "known-differences.toml";

/// The known differences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Ids of scenarios; none: any.
    scenarios: Vec<String>,
    planes: Vec<Plane>,
    aspects: Vec<Aspect>,
    why: String,
}

/// Why the file is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownError(pub String);

impl Known {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or an entry is incomplete.
    pub fn read(path: &Path) -> Result<Self, KnownError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| KnownError(format!("{}: {error}", path.display())))?;
        Self::parse(&text).map_err(|KnownError(what)| KnownError(format!("{}: {what}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, KnownError> {
        let document: DocumentMut =
            text.parse().map_err(|error: toml_edit::TomlError| KnownError(error.to_string()))?;
        let mut entries = Vec::new();
        for (name, item) in document.iter() {
            let tables = item.as_array_of_tables().filter(|_| name == "difference");
            let tables =
                tables.ok_or_else(|| KnownError(format!("`{name}`: only [[difference]] is known")))?;
            for table in tables {
                entries.push(entry(table)?);
            }
        }
        Ok(Self { entries })
    }

    /// Returns why two planes may differ there, if they may.
    pub fn why(&self, scenario: &str, plane: Plane, aspect: Aspect) -> Option<&str> {
        let fits = |entry: &&Entry| {
            entry.planes.contains(&plane)
                && entry.aspects.contains(&aspect)
                && (entry.scenarios.is_empty() || entry.scenarios.iter().any(|known| known == scenario))
        };
        self.entries.iter().find(fits).map(|entry| entry.why.as_str())
    }
}

fn entry(table: &Table) -> Result<Entry, KnownError> {
    for (name, _) in table {
        if !["scenarios", "planes", "in", "why"].contains(&name) {
            return Err(KnownError(format!("`{name}`: a difference has scenarios, planes, in and why")));
        }
    }
    let words = |name: &str| -> Result<Vec<String>, KnownError> {
        let Some(item) = table.get(name) else { return Ok(Vec::new()) };
        let array = item.as_array().ok_or_else(|| KnownError(format!("`{name}` is a list of words")))?;
        Ok(array.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect())
    };
    let mut planes = Vec::new();
    for word in words("planes")? {
        let known = PLANES.iter().find(|(known, ..)| *known == word);
        let (_, plane, _) = known.ok_or_else(|| KnownError(format!("no plane `{word}`")))?;
        planes.push(*plane);
    }
    let mut aspects = Vec::new();
    for word in words("in")? {
        let known = Aspect::WORDS.iter().find(|(_, known)| *known == word);
        let (aspect, _) = known.ok_or_else(|| KnownError(format!("planes are not compared by `{word}`")))?;
        aspects.push(*aspect);
    }
    let why = table.get("why").and_then(Item::as_str).unwrap_or_default().to_owned();
    if planes.is_empty() || aspects.is_empty() || why.is_empty() {
        return Err(KnownError("a difference names its planes, what it is in, and why".to_owned()));
    }
    Ok(Entry { scenarios: words("scenarios")?, planes, aspects, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "[[difference]]\nscenarios = [\"loss\"]\nplanes = [\"netns\"]\nin = [\"recovery\"]\nwhy = \"RTO\"\n";

    #[test]
    fn a_difference_counts_for_its_scenario_plane_and_aspect() {
        let known = Known::parse(FILE).expect("a good file");
        let check = |scenario, plane, aspect| known.why(scenario, plane, aspect).is_some();
        assert!(check("loss", Plane::Netns, Aspect::Recovery));
        assert!(!check("cut", Plane::Netns, Aspect::Recovery));
        assert!(!check("loss", Plane::Turmoil, Aspect::Recovery));
        assert!(!check("loss", Plane::Netns, Aspect::Verdict));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let check = |from: &str, to: &str| Known::parse(&FILE.replace(from, to)).expect_err("a bad file").0;
        assert_eq!(check("netns", "mars"), "no plane `mars`");
        assert_eq!(check("\"recovery\"", "\"taste\""), "planes are not compared by `taste`");
        assert!(check("why = \"RTO\"", "").contains("and why"));
        assert!(check("why", "because").contains("`because`"));
    }
}
