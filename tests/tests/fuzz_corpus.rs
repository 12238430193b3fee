//! Replays the corpus of every fuzz target through the function the fuzzer calls.

use std::{fs, path::Path};

#[path = "../../fuzz/src/bodies.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets reach these functions through a library")]
mod bodies;

#[path = "../../fuzz/src/proxy.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets reach these functions through a library")]
mod proxy;

/// Feeds each file of a corpus to `body`; its name is printed first, so that a panic tells which.
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable corpus").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    for file in files {
        println!("{}", file.display());
        body(&fs::read(&file).expect("a readable corpus"));
    }
}

#[test]
fn handshake() {
    replay("handshake", bodies::handshake);
}

#[test]
fn chunk() {
    replay("chunk", bodies::chunk);
}

#[test]
fn amf0() {
    replay("amf0", bodies::amf0);
}

#[test]
fn whole_proxy() {
    replay("proxy", proxy::proxy);
}

#[test]
fn client_session() {
    replay("client_session", bodies::client_session);
}

#[test]
fn server_session() {
    replay("server_session", bodies::server_session);
}
