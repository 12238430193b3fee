//! `repull-sim shrink`: a failing scenario becomes the smallest that still fails, and says what of it matters.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant as Wall,
};

use proxy_core::time::Duration;
use serde_json::{Value, json};

use super::exit;
use crate::{
    oracle::Finding,
    plane::Plane,
    report::story,
    scenario,
    shrink::{NotShrunk, SEEDS_TRIED, Shrunk, Size, Wish, shrink},
    world::{Keep, World},
};

/// How the head of a shrunk file begins.
const HEAD: &str = "# Shrunk from ";

/// What is to be shrunk, and how it is told.
#[derive(Clone, Debug)]
pub struct ShrinkOptions {
    /// The scenario.
    pub path: PathBuf,
    /// What is wanted.
    pub wish: Wish,
    /// Where the file goes; standard output if nowhere.
    pub write: Option<PathBuf>,
    /// One JSON object in place of text.
    pub json: bool,
}

/// Shrinks and tells; returns the exit code.
#[expect(clippy::disallowed_methods, reason = "how long it took is told to the user; no run sees it")]
pub fn run(options: &ShrinkOptions) -> u8 {
    let path = options.path.display().to_string();
    let text = match fs::read_to_string(&options.path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("repull-sim: {path}: {error}");
            return exit::USAGE;
        }
    };
    let began = Wall::now();
    let shrunk = match shrink(&text, &path, &options.wish) {
        Ok(shrunk) => shrunk,
        Err(why) => return tell_none(&why, &path, options),
    };
    let took = began.elapsed().as_millis();
    let id = new_id(&shrunk, options.write.as_deref());
    let file = file_of(&shrunk, &id, &path);
    let written = match &options.write {
        Some(folder) => match write(folder, &id, &file) {
            Ok(written) => Some(written),
            Err(error) => {
                // Nothing of what was found is lost.
                println!("{file}");
                eprintln!("repull-sim: {}: {error}; the file is printed instead", folder.display());
                return exit::USAGE;
            }
        },
        None => None,
    };
    if options.json {
        println!("{:#}", json_of(&shrunk, &path, &file, written.as_deref(), took));
    } else {
        tell(&shrunk, &path, &file, written.as_deref(), took);
    }
    exit::BROKEN
}

fn tell_none(why: &NotShrunk, path: &str, options: &ShrinkOptions) -> u8 {
    let (text, word, code) = match why {
        NotShrunk::Problems(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            return exit::USAGE;
        }
        NotShrunk::Held(seed) => (
            format!("nothing to shrink: with seed {seed} every promise is held; --seed N tries another"),
            "held",
            exit::HELD,
        ),
        NotShrunk::OtherPromise(promises) => (
            format!("it fails, but not by that promise; --promise takes {}", promises.join(", ")),
            "other-promise",
            exit::USAGE,
        ),
        NotShrunk::Mark => (
            "it fails by a mark it does not reach: what does not happen gets no smaller".to_owned(),
            "mark",
            exit::MARK_MISSED,
        ),
        NotShrunk::Differs => (
            "two runs of it differ, so nothing can be told from one; `repull-sim run` names the first record"
                .to_owned(),
            "differs",
            exit::NOT_DETERMINISTIC,
        ),
        NotShrunk::NoVerdict => ("its run does not end".to_owned(), "no-verdict", exit::NO_VERDICT),
    };
    if options.json {
        println!("{:#}", json!({ "file": path, "shrunk": false, "verdict": word, "why": text }));
    } else if code == exit::HELD {
        println!("{path}: {text}");
    } else {
        eprintln!("repull-sim: {path}: {text}");
    }
    code
}

/// Returns what the file will be called: after the scenario and its promise, with a number if that is taken by another.
fn new_id(shrunk: &Shrunk, folder: Option<&Path>) -> String {
    let promise = shrunk.finding.promise.replace("expect: ", "").replace([' ', '_', ':'], "-");
    let own = &shrunk.scenario.id;
    // What is shrunk once more keeps its name.
    let stem = if own.ends_with(&promise) { own.clone() } else { format!("{own}-{promise}") };
    let Some(folder) = folder else { return stem };
    let names = (1..).map(|number| if number == 1 { stem.clone() } else { format!("{stem}-{number}") });
    let mut free = names.filter(|name| !folder.join(format!("{name}.toml")).exists());
    free.next().unwrap_or(stem)
}

/// Returns the file: its head tells where it comes from and how it fails.
fn file_of(shrunk: &Shrunk, id: &str, path: &str) -> String {
    let own = format!("\"{}\"", shrunk.scenario.id);
    let mut lines: Vec<String> = shrunk.text.lines().map(str::to_owned).collect();
    let is_id = |line: &&mut String| line.trim_start().starts_with("id") && line.contains(&own);
    if let Some(line) = lines.iter_mut().find(is_id) {
        *line = line.replacen(&own, &format!("\"{id}\""), 1);
    }
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let Finding { promise, at, text, .. } = &shrunk.finding;
    let seeds = shrunk.seeds as u64;
    let seeds = match seeds {
        0 => format!("with none of {SEEDS_TRIED} other seeds"),
        all if all == SEEDS_TRIED => format!("with all of {SEEDS_TRIED} other seeds too"),
        some => format!("with {some} of {SEEDS_TRIED} other seeds too"),
    };
    let head = format!(
        "Shrunk from {name}, seed {}. It fails {seeds}; nothing more of it can go. Remarks behind lines are \
         measured. `{promise}` breaks at {at}: {text}.",
        shrunk.seed
    );
    let mut head: Vec<String> = wrapped(&head, 118).into_iter().map(|line| format!("# {line}")).collect();
    let schema = lines.iter().take_while(|line| line.starts_with("#:")).count();
    drop_head(&mut lines, schema);
    if lines.get(schema).is_some_and(|line| line.trim() == "#") {
        head.insert(0, "#".to_owned());
    } else {
        head.push("#".to_owned());
    }
    lines.splice(schema..schema, head);
    lines.join("\n") + "\n"
}

/// Takes out the head that a file has got when it was shrunk before: it tells of another run.
fn drop_head(lines: &mut Vec<String>, from: usize) {
    let from = from + usize::from(lines.get(from).is_some_and(|line| line.trim() == "#"));
    if !lines.get(from).is_some_and(|line| line.starts_with(HEAD)) {
        return;
    }
    let is_head = |line: &&String| line.starts_with('#') && line.trim() != "#";
    let to = from + lines[from..].iter().take_while(is_head).count();
    // Where its end is not to be seen, somebody has written into it.
    if lines.get(to).is_some_and(|line| line.trim() == "#") {
        lines.drain(from..=to);
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.is_empty() || line.len() + 1 + word.len() <= width);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn write(folder: &Path, id: &str, file: &str) -> std::io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{id}.toml"));
    // Whoever has made a file of this name meanwhile keeps it.
    let mut made = fs::File::create_new(&path)?;
    std::io::Write::write_all(&mut made, file.as_bytes())?;
    Ok(path)
}

/// Tells how much is left and how it fails. Where the file is not written anywhere it alone goes to standard output.
fn tell(shrunk: &Shrunk, path: &str, file: &str, written: Option<&Path>, took: u128) {
    let (size, story) = (told(shrunk, path, took), the_story(shrunk, file));
    match written {
        Some(written) => {
            let path = written.display();
            print!("{size}\nwritten to {path}\nsee it again\n  repull-sim run {path}\n{story}");
        }
        None => {
            eprintln!("{size}");
            print!("{file}");
            eprint!("\n{story}");
        }
    }
}

/// Tells how much was there and how much is left.
fn told(shrunk: &Shrunk, path: &str, took: u128) -> String {
    let Size { lines, events, faults, hosts, expects, time } = shrunk.before;
    let after = &shrunk.after;
    let mut out = format!("{path}, seed {}, fails by `{}`\n", shrunk.seed, shrunk.finding.promise);
    for (what, before, after) in [
        ("lines", lines, after.lines),
        ("events", events, after.events),
        ("faults among them", faults, after.faults),
        ("hosts", hosts, after.hosts),
        ("expectations", expects, after.expects),
    ] {
        out.push_str(&format!("  {what:<20} {before:>6} → {after}\n"));
    }
    out.push_str(&format!("  {:<20} {:>6} → {}\n", "virtual time", seconds(time), seconds(after.time)));
    out.push_str(&format!(
        "  {} runs, {}.{} s; {} of {SEEDS_TRIED} other seeds fail too\n",
        shrunk.runs,
        took / 1000,
        took / 100 % 10,
        shrunk.seeds
    ));
    out
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_millis() / 1000)
}

/// Tells the story of the shrunk file's run.
fn the_story(shrunk: &Shrunk, file: &str) -> String {
    let outcome = World::run(&shrunk.scenario, shrunk.seed, Keep { records: true, ..Keep::default() });
    let records: Vec<_> = outcome.log.iter().flat_map(|log| log.records()).collect();
    // The scenario's lines are those before the head was written.
    let name = format!("{}.toml", id_of(file));
    let Ok(scenario) = scenario::read(file, &name) else { return String::new() };
    let Finding { promise, at, text, .. } = &shrunk.finding;
    let findings = std::slice::from_ref(&shrunk.finding);
    let head = format!("how it fails ({}): `{promise}` at {at}: {text}\n", crate::plane::name(Plane::Core));
    head + &story(&scenario, file, findings, outcome.oracles.scene(), &outcome.cast, &records)
}

fn id_of(file: &str) -> String {
    let line = file.lines().find(|line| line.trim_start().starts_with("id"));
    line.and_then(|line| line.split('"').nth(1)).unwrap_or_default().to_owned()
}

/// Returns what became of it, for programs.
pub fn json_of(shrunk: &Shrunk, path: &str, file: &str, written: Option<&Path>, took: u128) -> Value {
    let size = |size: &Size| {
        json!({
            "lines": size.lines,
            "events": size.events,
            "faults": size.faults,
            "hosts": size.hosts,
            "expects": size.expects,
            "for_ns": u64::try_from(size.time.as_nanos()).unwrap_or(u64::MAX),
        })
    };
    // A head that is written in the place of a longer one moves lines up.
    let line = |line: u32| line as usize + file.lines().count() - shrunk.text.lines().count();
    json!({
        "file": path,
        "shrunk": true,
        "seed": shrunk.seed,
        "promise": shrunk.finding.promise,
        "at_ns": shrunk.finding.at.as_nanos(),
        "what": shrunk.finding.text,
        "other_seeds": [shrunk.seeds, SEEDS_TRIED],
        "runs": shrunk.runs,
        "took_ms": u64::try_from(took).unwrap_or(u64::MAX),
        "before": size(&shrunk.before),
        "after": size(&shrunk.after),
        "remarks": shrunk
            .remarks
            .iter()
            .map(|remark| json!({ "line": line(remark.line), "text": remark.text }))
            .collect::<Vec<_>>(),
        "written": written.map(|path| path.display().to_string()),
        "text": file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_goes_before_another_is_written() {
        let check = |text: &str, left: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let schema = lines.iter().take_while(|line| line.starts_with("#:")).count();
            drop_head(&mut lines, schema);
            assert_eq!(lines.join("\n"), left);
        };
        check("# Shrunk from a.toml, seed 1. It\n# fails.\n#\n# Found.\nid = 1", "# Found.\nid = 1");
        check("#:schema s\n#\n# Shrunk from a.toml.\n#\n# Found.\nid = 1", "#:schema s\n#\n# Found.\nid = 1");
        check("# Shrunk from a.toml.\n# Keep.\nid = 1", "# Shrunk from a.toml.\n# Keep.\nid = 1");
        check("#:schema s\n#\n# Found.\n#\nid = 1", "#:schema s\n#\n# Found.\n#\nid = 1");
    }
}
