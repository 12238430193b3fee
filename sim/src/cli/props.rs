//! `repull-sim props`: the vocabulary of scenario files, from the tables they are read by.

use std::io::{self, Write};

use super::exit;
use crate::scenario::vocabulary::{self, Entry};

/// A promise: its name and a sentence.
pub type Promise<'a> = (&'a str, &'a str);

/// Lists everything, one section (`faults`), or what one word means (`kill`).
///
/// # Errors
/// What cannot be written.
pub fn run(
    word: Option<&str>,
    promises: &[Promise<'_>],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let mut sections = vocabulary::sections();
    if !promises.is_empty() {
        let entries = promises.iter().map(|(name, text)| Entry::new(name, text)).collect();
        let title = "promises: hold in every run and are never listed";
        sections.insert(1, vocabulary::Section { name: "promises", title, entries });
    }
    let Some(word) = word else {
        for section in &sections {
            tell(section.title, &section.entries, out)?;
        }
        writeln!(out, "`repull-sim props WORD` tells a section or a word with its parameters.")?;
        return Ok(exit::HELD);
    };
    if let Some(section) = sections.iter().find(|section| section.name == word) {
        tell(section.title, &section.entries, out)?;
        return Ok(exit::HELD);
    }
    let mut is_known = false;
    for section in &sections {
        for entry in section.entries.iter().filter(|entry| entry.name == word) {
            is_known = true;
            writeln!(out, "{} ({}): {}", entry.name, section.name, entry.text)?;
            for (name, text) in &entry.keys {
                writeln!(out, "  {name:<24} {text}")?;
            }
        }
    }
    if is_known {
        return Ok(exit::HELD);
    }
    let names = sections.iter().flat_map(|section| section.entries.iter().map(|entry| entry.name.as_str()));
    let likely = proxyd::config::likely(word, sections.iter().map(|section| section.name).chain(names));
    let likely = likely.map(|likely| format!("did you mean {likely}? ")).unwrap_or_default();
    let sections: Vec<_> = sections.iter().map(|section| section.name).collect();
    writeln!(err, "repull-sim: unknown word \"{word}\"; {likely}sections: {}", sections.join(", "))?;
    Ok(exit::USAGE)
}

/// Prints the JSON Schema of scenario files.
///
/// # Errors
/// What cannot be written.
pub fn schema(out: &mut dyn Write) -> io::Result<u8> {
    writeln!(out, "{}", crate::scenario::schema_text())?;
    Ok(exit::HELD)
}

fn tell(title: &str, entries: &[Entry], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{title}")?;
    let mut group = "";
    for entry in entries {
        if entry.group != group {
            group = entry.group;
            writeln!(out, "  -- {group}")?;
        }
        writeln!(out, "  {:<24} {}", entry.name, entry.text)?;
    }
    writeln!(out)
}
