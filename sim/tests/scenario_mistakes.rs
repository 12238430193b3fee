//! What a file is told that says something it cannot mean: the place, the offending word, the allowed ones.

use std::fmt::Write;

use sim::scenario::{self, Problem};

/// A file without a mistake; each case changes one thing.
const BASE: &str = r#"schema = 1
id = "base"
title = "Players get frames again"

[run]
for = "40s"

[net.lan]
subnet = "172.17.0.0/16"

[host.srs]
role = "origin"
ip = "172.17.0.2"
publish = { port = 1935, via = "docker-proxy" }
model = { like = "srs-6", stream = "live/111", fps = 5, gop = "1s" }

[host.proxy]
role = "proxy"
config = { pull = { stall_timeout_ms = 3000 } }

[host.viewer]
role = "player"
count = 3
model = { retry = "1s" }

[name.camera]
hosts = ["srs"]

[pull.p1]
app = "live"
stream = "111"
url = "rtmp://172.17.0.1/live/111"
retry_count = -1

[timeline]
events = [
  { at = "0s", add = "p1", as = "add1", reply = { code = 0 } },
  { at = "3s", play = "p1", via = ["rtmp"] },
  { at = "10s", on = "srs", fault = "kill", for = "5s", as = "f1" },
  { at = "f1.cleared + 2s", on = "srs", fault = "end", ending = "stream-eof" },
  { at = "+1s", api = "getMediaList", reply = { streams = ["live/111"] } },
  { at = "end - 5s", on = "viewer", leave = "close" },
]

[[expect]]
frames_at = ["viewer"]
after = "srs.serving"
at_most = "2.5s"

[[expect]]
never = "player-disconnected"
until = "end - 5s"
"#;

const FILE: &str = "scenarios/faults/base.toml";

/// Each mistake: what stands there, what is written instead.
const MISTAKES: &[(&str, &str)] = &[
    // TOML itself.
    ("for = \"40s\"", "for = 40s"),
    ("[pull.p1]", "[pull.p1"),
    ("schema = 1\n", "schema = 1\nschema = 1\n"),
    // Keys and tables.
    ("schema = 1", "schema = 2"),
    ("schema = 1\n", ""),
    ("id = \"base\"", "id = \"other\""),
    ("title =", "tile ="),
    ("[run]\n", "[run]\nfro = \"1s\"\n"),
    ("[run]\n", "defects = [\"zombie-key\", \"zombie-kye\"]\n[run]\n"),
    ("[run]\n", "defects = [\"zombie-key\", \"zombie-key\"]\n[run]\n"),
    ("fps = 5", "fsp = 5"),
    ("role = \"origin\"\n", "role = \"origin\"\nfps = 5\n"),
    ("[name.camera]", "[swarm]\nomit = 0\n[name.camera]"),
    ("[name.camera]", "[swarm]\nfaults = [\"kil\"]\n[name.camera]"),
    ("[name.camera]", "[swarm]\nfaults = [\"stuck\"]\non = [\"srs\"]\n[name.camera]"),
    ("[name.camera]", "[swarm]\nat_least = 5\n[name.camera]"),
    ("[name.camera]", "[swarm]\nbetween = { min = \"50s\", max = \"60s\" }\n[name.camera]"),
    ("[name.camera]", "[swarm]\nknobs = [\"everything\"]\n[name.camera]"),
    ("[host.srs]", "[hots.srs]"),
    ("[run]\nfor = \"40s\"\n", "run = 3\n"),
    ("role = \"origin\"", "role = \"orign\""),
    ("role = \"origin\"\n", ""),
    (
        "model = { like = \"srs-6\", stream = \"live/111\", fps = 5, gop = \"1s\" }",
        "model = { like = \"srs-6\" }",
    ),
    // Values.
    ("for = \"40s\"", "for = 40"),
    ("for = \"40s\"", "for = \"40 sec\""),
    ("for = \"40s\"", "for = \"2h\""),
    ("for = \"40s\"", "for = \"0s\""),
    ("fps = 5", "fps = \"five\""),
    ("fps = 5", "fps = 0"),
    ("fps = 5", "fps = 2.5"),
    ("gop = \"1s\"", "gop = \"0.3s\""),
    ("fps = 5", "video = false, fps = 5"),
    ("fps = 5", "size = \"64*48\""),
    ("\"srs-6\"", "\"srs6\""),
    ("stream = \"live/111\", fps", "stream = \"111\", fps"),
    ("stream = \"live/111\", fps", "stream = \"live/cam{1..}\", fps"),
    ("\"docker-proxy\"", "\"dokcer-proxy\""),
    ("[net.lan]\n", "[net.lan]\nloss = \"5\"\n"),
    ("[net.lan]\n", "[net.lan]\nloss = 101\n"),
    ("[net.lan]\n", "[net.lan]\nbandwidth = \"2MB\"\n"),
    ("[net.lan]\n", "[net.lan]\nlatency = { min = \"5ms\", max = \"1ms\" }\n"),
    ("[run]\n", "[run]\nplanes = [\"core\", \"moon\"]\n"),
    ("[run]\n", "[run]\nplanes = \"core\"\n"),
    ("[run]\n", "[run]\nseeds = [-1]\n"),
    // Addresses.
    ("172.17.0.0/16", "172.17.0.1/16"),
    ("172.17.0.0/16\"", "172.17.0.0/16\"\ngateway = \"172.18.0.1\""),
    ("172.17.0.0/16\"", "172.17.0.0/16\"\n[net.wan]\nsubnet = \"172.17.128.0/24\""),
    ("ip = \"172.17.0.2\"", "ip = \"172.17.0.256\""),
    ("ip = \"172.17.0.2\"", "ip = \"172.18.0.2\""),
    ("ip = \"172.17.0.2\"", "ip = \"172.17.0.1\""),
    ("role = \"player\"\n", "role = \"player\"\nip = \"172.17.0.2\"\n"),
    ("role = \"proxy\"\n", "role = \"proxy\"\npublish = { port = 1935 }\n"),
    ("rtmp://172.17.0.1/", "rtmp://172.17.0.1:1940/"),
    ("rtmp://172.17.0.1/", "rtmp://10.0.0.9/"),
    ("rtmp://172.17.0.1/", "rtmp://camra/"),
    ("rtmp://172.17.0.1/", "http://172.17.0.1/"),
    ("rtmp://172.17.0.1/live/111", "rtmp://srs/live/112"),
    ("[name.camera]\nhosts = [\"srs\"]", "[name.camera]"),
    ("[name.camera]\nhosts = [\"srs\"]", "[name.srs]\nips = [\"172.17.0.9\"]"),
    // The proxy's configuration.
    ("stall_timeout_ms = 3000", "stal_timeout_ms = 3000"),
    ("stall_timeout_ms = 3000", "stall_timeout_ms = 3"),
    ("{ pull = { stall_timeout_ms = 3000 } }", "{ pul = { stall_timeout_ms = 3000 } }"),
    (
        "config = { pull = { stall_timeout_ms = 3000 } }\n",
        "[[host.proxy.config.proxy]]\napp = \"live\"\nstream = \"a\"\nurl = \"rtmp://camra/live/a\"\n",
    ),
    (
        "config = { pull = { stall_timeout_ms = 3000 } }\n",
        "[[host.proxy.config.proxy]]\napp = \"live\"\nurl = \"rtmp://srs/live/111\"\n",
    ),
    ("retry_count = -1", "retry_count = \"many\""),
    ("retry_count = -1", "retry_cnt = -1"),
    ("retry_count = -1", "args = { retry_cnt = -1 }"),
    ("retry_count = -1", "count = 3"),
    // Events.
    ("add = \"p1\"", "ad = \"p1\""),
    ("add = \"p1\", as = \"add1\", reply = { code = 0 }", "on = \"proxy\""),
    ("add = \"p1\"", "add = \"p2\""),
    ("add = \"p1\"", "on = \"srs\", add = \"p1\""),
    ("on = \"srs\", fault = \"kill\"", "on = \"sr\", fault = \"kill\""),
    ("fault = \"kill\"", "fault = \"kil\""),
    ("fault = \"kill\"", "fault = \"kill\", boot = \"x\""),
    ("fault = \"kill\"", "fault = \"kill\", bot = \"1s\""),
    ("fault = \"kill\"", "fault = \"kill\", down = \"5s\""),
    ("fault = \"kill\"", "fault = \"kill\", never = true"),
    ("fault = \"kill\"", "fault = \"loss\""),
    ("fault = \"kill\"", "fault = \"stuck\""),
    ("on = \"srs\", fault = \"kill\"", "fault = \"freeze\""),
    ("fault = \"kill\", for", "fault = \"timestamp-jump\", by = \"-1h\", for"),
    ("fault = \"kill\", for", "fault = \"timestamp-jump\", by = \"1us\", for"),
    ("fault = \"kill\"", "fault = \"dns\", name = \"camera\", answer = \"slow\""),
    ("fault = \"kill\"", "fault = \"dns\", name = \"kamera\", answer = \"nxdomain\""),
    ("fault = \"kill\"", "fault = \"publisher-away\", stream = \"live/11\""),
    ("fault = \"kill\"", "fault = \"publisher-away\", back = { vidoe = \"hevc\" }"),
    ("ending = \"stream-eof\"", "ending = \"eof\""),
    ("leave = \"close\"", "leave = \"politely\""),
    ("via = [\"rtmp\"]", "via = [\"flv\"]"),
    ("via = [\"rtmp\"]", "via = []"),
    ("api = \"getMediaList\"", "api = \"getMedialist\""),
    ("reply = { code = 0 }", "reply = { code = \"0\" }"),
    ("reply = { code = 0 }", "reply = { refusal = \"only_if_true\" }"),
    ("as = \"add1\"", "as = \"srs\""),
    ("as = \"add1\"", "as = \"f1\""),
    ("as = \"add1\"", "as = \"add 1\""),
    // Moments.
    ("at = \"0s\"", "at = \"f1.start\""),
    ("at = \"f1.cleared + 2s\"", "at = \"f2.cleared + 2s\""),
    ("at = \"f1.cleared + 2s\"", "at = \"f1.clear + 2s\""),
    ("at = \"f1.cleared + 2s\"", "at = \"f1 + 2s\""),
    ("at = \"f1.cleared + 2s\"", "at = \"f1.cleared 2s\""),
    ("at = \"f1.cleared + 2s\"", "at = \"f1.cleared - 2s\""),
    ("at = \"f1.cleared + 2s\"", "at = \"p1.backing_off\""),
    ("at = \"f1.cleared + 2s\"", "at = \"add1.cleared\""),
    ("at = \"3s\"", "at = \"50s\""),
    ("at = \"3s\"", "at = \"soon\""),
    ("at = \"3s\"", "at = 3"),
    ("at = \"3s\", ", ""),
    ("at = \"3s\"", "at = \"1s..9s\""),
    ("at = \"end - 5s\"", "at = \"end - 50s\""),
    ("at = \"f1.cleared + 2s\"", "at = \"f1.start + 35s\""),
    ("at = \"f1.cleared + 2s\"", "at = \"add1.replied + 41s\""),
    ("for = \"5s\", as", "for = \"31s\", as"),
    ("for = \"5s\", as = \"f1\"", "as = \"f1\""),
    ("fault = \"kill\", for = \"5s\"", "fault = \"move-address\""),
    // Expectations.
    ("frames_at = [\"viewer\"]", "frames_at = [\"srs\"]"),
    ("frames_at = [\"viewer\"]", "frames_at = []"),
    ("frames_at = [\"viewer\"]", "frame_at = [\"viewer\"]"),
    ("at_most = \"2.5s\"", "within = \"2.5s\""),
    ("after = \"srs.serving\"\n", ""),
    ("after = \"srs.serving\"", "after = \"41s\""),
    ("after = \"srs.serving\"", "after = \"f1.cleared + 26s\""),
    ("after = \"srs.serving\"", "after = \"add1.replied + 40s\""),
    ("after = \"srs.serving\"", "after = \"+1s\""),
    ("until = \"end - 5s\"", "from = \"36s\"\nuntil = \"end - 5s\""),
    ("never = \"player-disconnected\"", "never = \"player_disconnected\""),
    ("never = \"player-disconnected\"\nuntil", "dials = \"srs\"\nuntil"),
    ("never = \"player-disconnected\"\nuntil", "dials = \"srs\"\nat_least = 3\nat_most = 2\nuntil"),
    ("[[expect]]\nnever", "[[expect]]\nmarks = [\"player-stuck\", \"player-shedd\"]\n[[expect]]\nnever"),
    ("[[expect]]\nnever", "[[expect]]\nnoticed_by = \"pings\"\nafter = \"f1.start\"\n[[expect]]\nnever"),
];

#[test]
fn the_file_without_a_mistake_reads() {
    assert_eq!(check(BASE), "");
}

#[test]
fn mistakes_are_told_at_their_place_with_the_allowed_words() {
    let mut told = String::new();
    for (right, wrong) in MISTAKES {
        assert!(BASE.contains(right), "{right}");
        let problems = check(&BASE.replacen(right, wrong, 1));
        assert_ne!(problems, "", "{wrong} passes");
        let wrong = if wrong.is_empty() {
            format!("(without {})", right.trim())
        } else {
            wrong.replace('\n', " ⏎ ")
        };
        write!(told, "{wrong}\n{problems}\n").expect("a String takes everything");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_in_its_order() {
    let text = BASE
        .replace("fps = 5", "fsp = 5")
        .replace("fault = \"kill\"", "fault = \"kil\"")
        .replace("= \"40s\"", "= 40");
    let problems = scenario::read(&text, FILE).expect_err("three mistakes");
    let lines: Vec<_> = problems.iter().filter_map(|problem| problem.place).map(|place| place.line).collect();
    assert_eq!(lines, [6, 15, 39]);
}

#[test]
fn long_files_of_field_are_remarked_on() {
    let text = BASE.replace("for = \"40s\"", "for = \"41s\"");
    let warnings =
        |file| scenario::load(&text, file, None).map(|loaded| tell(&loaded.warnings)).map_err(|e| tell(&e));
    assert_eq!(warnings(FILE), Ok(String::new()));
    let told =
        "scenarios/field/base.toml:6:7: warning: for: 41s is longer than 40s, which every plane can run\n";
    assert_eq!(warnings("scenarios/field/base.toml"), Ok(told.to_owned()));
}

#[test]
fn whatever_stands_there_is_told_and_never_a_panic() {
    let mut told = 0;
    for (at, _) in BASE.char_indices() {
        told += usize::from(!check(&BASE[..at]).is_empty());
    }
    let lines: Vec<_> = BASE.lines().collect();
    for gone in 0..lines.len() {
        let rest: Vec<_> =
            lines.iter().enumerate().filter(|(index, _)| *index != gone).map(|(_, line)| *line).collect();
        told += usize::from(!check(&rest.join("\n")).is_empty());
    }
    // Every value, replaced by one of another type.
    for (at, _) in BASE.match_indices(" = ") {
        let value = at + 3;
        let end = BASE[value..].find([',', '}', '\n']).map_or(BASE.len(), |len| value + len);
        for other in
            ["3", "-1", "2.5", "true", "\"x\"", "\"\"", "\"9s..1s\"", "[]", "[[]]", "{}", "1979-05-27"]
        {
            told += usize::from(!check(&format!("{}{other}{}", &BASE[..value], &BASE[end..])).is_empty());
        }
    }
    assert!(told > 1500, "{told}");
}

/// Returns everything that is told of a text.
fn check(text: &str) -> String {
    match scenario::load(text, FILE, None) {
        Ok(loaded) => tell(&loaded.warnings),
        Err(problems) => tell(&problems),
    }
}

fn tell(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n").replace("scenarios/faults/", "")).collect()
}
