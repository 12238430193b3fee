//! Each fault of the form has its witness: what it does, told by packets alone, in a run that has it beside one that has
//! not. `net_witness_*.rs` hold the network's own faults beside measurements of Linux; here it is the scenario's words.

mod wire;

use std::collections::BTreeSet;

use proxy_core::time::Duration;
use sim::{
    net::packet::{ACK, FIN, RST, SYN, Unreachable},
    runner,
    scenario::{self, FAULTS, model::Plane},
};

use self::wire::Wire;

/// An origin behind a published port, a proxy that pulls through it, a viewer.
const STORY: &str = include_str!("story.toml");

/// Closes what the proxy pulls by, a little after the fault has begun: what follows is dialled and asked for anew.
const CUT: &str = "{ at = \"4500ms\", on = \"origin\", fault = \"cut\", byte = 0 },";
/// No publisher is there when that happens.
const AWAY: &str = "{ at = \"4200ms\", on = \"origin\", fault = \"publisher-away\", for = \"3s\" },";

/// A fault begins at 4.05 s, between two frames; one that lasts is over at 8.05 s.
struct Witness {
    fault: &'static str,
    /// On whom.
    on: &'static str,
    /// Its parameters.
    keys: &'static str,
    /// What happens besides, with the fault and without it.
    also: &'static [&'static str],
    /// Whether the first run shows what the second does not.
    shows: fn(&Wire, &Wire) -> bool,
}

const fn at_origin(fault: &'static str, shows: fn(&Wire, &Wire) -> bool) -> Witness {
    Witness { fault, on: "origin", keys: ", for = \"4s\"", also: &[], shows }
}

const fn anew(fault: &'static str, shows: fn(&Wire, &Wire) -> bool) -> Witness {
    Witness { also: &[CUT], ..at_origin(fault, shows) }
}

/// What the origin sends after its connections are cut.
fn said(wire: &Wire) -> Wire {
    wire.between(4_510, 8_000).sent_by("origin")
}

/// What it says to the first who dials it after that.
fn said_first(wire: &Wire) -> Wire {
    let late = wire.between(4_490, 8_000).sent_by("origin").of_origin();
    let port = late.flags(SYN | ACK, 0).0.first().map(|seen| seen.header.dst.port);
    Wire(late.0.into_iter().filter(|seen| Some(seen.header.dst.port) == port).collect())
}

/// What was connected is hung up, and dials are refused.
fn is_down(origin: &Wire) -> bool {
    !origin.flags(FIN, 0).is_empty()
        && !origin.flags(RST, 0).is_empty()
        && origin.flags(SYN | ACK, 0).is_empty()
}

/// S0, S1 and S2.
const HANDSHAKE: usize = 3_073;

/// The bytes of the fault's time, frames and all.
fn media(wire: &Wire) -> Wire {
    wire.between(4_060, 8_000).sent_by("origin").loaded()
}

fn witnesses() -> Vec<Witness> {
    vec![
        // ---- processes and containers ----
        at_origin("term", |with, _| {
            let origin = with.between(4_050, 8_000).sent_by("origin");
            origin.says(b"NetStream.Play.UnpublishNotify") == 1 && is_down(&origin)
        }),
        at_origin("kill", |with, _| {
            let origin = with.between(4_050, 8_000).sent_by("origin");
            origin.loaded().is_empty() && is_down(&origin)
        }),
        at_origin("vanish", |with, _| with.between(4_050, 8_000).sent_by("origin").is_empty()),
        at_origin("freeze", |with, _| !said(with).flags(ACK, RST | FIN).is_empty() && media(with).is_empty()),
        at_origin("pause", |with, _| !said(with).flags(ACK, RST | FIN).is_empty() && media(with).is_empty()),
        // ---- dialling an origin ----
        anew("refuse", |with, _| {
            let proxy = with.between(4_510, 8_000).got_by("proxy");
            !proxy.flags(RST, 0).is_empty() && proxy.flags(SYN | ACK, 0).is_empty()
        }),
        anew("blackhole", |with, _| {
            let late = with.between(4_510, 8_000);
            late.sent_by("proxy").flags(SYN, ACK).count() > 1
                && !late.dropped("filtered").is_empty()
                && late.got_by("proxy").flags(SYN | ACK, 0).is_empty()
        }),
        anew("accept-close", |with, _| {
            let said = said_first(with);
            !said.flags(SYN | ACK, 0).is_empty()
                && said.loaded().is_empty()
                && said.flags(FIN, 0).count() + said.flags(RST, 0).count() > 0
        }),
        anew("accept-reset", |with, _| {
            let said = said_first(with);
            !said.flags(SYN | ACK, 0).is_empty() && said.loaded().is_empty() && !said.flags(RST, 0).is_empty()
        }),
        anew("accept-silence", |with, _| {
            let said = said_first(with).between(4_490, 5_400);
            said.count() > 1 && said.loaded().is_empty() && said.flags(FIN, 0).is_empty()
        }),
        // ---- the network ----
        at_origin("partition", |with, _| {
            let late = with.between(4_060, 8_000);
            !late.dropped("filtered").is_empty() && late.got_by("proxy").of_origin().is_empty()
        }),
        Witness {
            keys: ", percent = \"30 %\", for = \"4s\"",
            ..at_origin("loss", |with, _| !with.dropped("lost").is_empty())
        },
        Witness {
            keys: ", percent = \"100 %\", for = \"4s\"",
            ..at_origin("duplicate", |with, _| {
                with.between(4_060, 8_000).got_by("proxy").of_origin().twice() > 10
            })
        },
        Witness {
            keys: ", percent = \"50 %\", for = \"4s\"",
            ..at_origin("reorder", |with, _| {
                with.between(4_060, 8_000).got_by("proxy").of_origin().overtaken() > 5
            })
        },
        Witness {
            keys: ", by = \"300ms\", for = \"4s\"",
            ..at_origin("latency", |with, _| {
                // Nothing that was sent after the fault's beginning arrives before its time.
                with.between(4_060, 4_340).got_by("proxy").of_origin().is_empty()
                    && !with.between(4_340, 5_000).got_by("proxy").of_origin().is_empty()
            })
        },
        Witness {
            keys: ", rate = \"64kbit\", for = \"4s\"",
            ..at_origin("bandwidth", |with, _| {
                let second = with.between(4_100, 5_100).got_by("proxy").of_origin().bytes().len();
                (1..=8_000).contains(&second)
            })
        },
        Witness {
            keys: ", bytes = 600, icmp = true, for = \"4s\"",
            ..at_origin("mtu", |with, _| {
                let told = |seen: &wire::Seen| seen.icmp == Some(Unreachable::TooBig(600));
                let late = with.between(4_060, 8_000);
                !late.dropped("too-big").is_empty() && late.got_by("origin").0.iter().any(told)
            })
        },
        at_origin("link-down", |with, _| {
            let late = with.between(4_060, 8_000);
            late.got_by("proxy").of_origin().is_empty() && late.got_by("origin").flags(0, 0).is_empty()
        }),
        at_origin("veth-recreate", |with, _| {
            let late = with.between(4_060, 8_000);
            late.got_by("proxy").of_origin().is_empty()
                && !with.between(8_000, 14_000).got_by("origin").is_empty()
        }),
        at_origin("network-disconnect", |with, _| {
            let late = with.between(4_060, 8_000);
            !late.dropped("no-source").is_empty() && late.got_by("proxy").of_origin().loaded().is_empty()
        }),
        Witness {
            keys: "",
            ..at_origin("conntrack-flush", |with, _| {
                let late = with.between(4_050, 5_000);
                !late.dropped("no-conntrack").is_empty() && late.got_by("proxy").of_origin().is_empty()
            })
        },
        Witness {
            keys: ", ip = \"172.17.0.99\"",
            ..at_origin("move-address", |with, _| {
                !with.between(4_050, 14_000).got_by("origin").to("172.17.0.99").is_empty()
            })
        },
        // ---- bytes an origin sends ----
        Witness {
            keys: ", byte = 0",
            ..at_origin("cut", |with, _| {
                let origin = with.between(4_050, 6_000).sent_by("origin");
                // The port is open all along.
                !origin.flags(FIN, 0).is_empty() && !origin.flags(SYN | ACK, 0).is_empty()
            })
        },
        Witness {
            keys: ", bytes = 100, for = \"4s\"",
            ..at_origin("split", |with, _| !media(with).is_empty() && media(with).largest() <= 100)
        },
        Witness {
            keys: ", hold = \"1s\", for = \"4s\"",
            ..at_origin("coalesce", |with, without| {
                media(with).longest_gap() > Duration::from_millis(700)
                    && media(without).longest_gap() < Duration::from_millis(300)
            })
        },
        Witness {
            keys: ", bytes = 10, gap = \"100ms\", for = \"4s\"",
            ..at_origin("trickle", |with, _| {
                let count = media(with).between(4_100, 5_100).count();
                media(with).largest() <= 10 && (9..=11).contains(&count)
            })
        },
        // ---- an origin's RTMP ----
        Witness {
            keys: ", bytes = 100, for = \"4s\"",
            ..anew("handshake-truncated", |with, _| said_first(with).bytes().len() == 100)
        },
        anew("handshake-slow", |with, _| {
            let said = said_first(with).loaded();
            said.count() > 1 && said.largest() == 100 && said.longest_gap() >= Duration::from_millis(200)
        }),
        anew("handshake-wrong", |with, _| said_first(with).bytes().first() == Some(&6)),
        // The proxy's C2 is right. That one who looks hangs up on a wrong one is in `peers/basics.rs`.
        anew("handshake-strict", |with, without| {
            said_first(with).bytes()[..HANDSHAKE] == said_first(without).bytes()[..HANDSHAKE]
        }),
        anew("handshake-http", |with, _| said_first(with).bytes().starts_with(b"HTTP/1.1 ")),
        anew("connect-refused", |with, _| said(with).says(b"NetConnection.Connect.Rejected") > 0),
        anew("connect-silent", |with, _| {
            let said = said_first(with).between(4_490, 5_400);
            said.bytes().len() == HANDSHAKE && said.flags(FIN, 0).is_empty()
        }),
        anew("connect-close", |with, _| {
            let said = said_first(with);
            said.bytes().len() == HANDSHAKE && !said.flags(FIN, 0).is_empty()
        }),
        Witness {
            keys: ", url = \"rtmp://172.17.0.77/live/cam\", for = \"4s\"",
            ..anew("redirect", |with, _| {
                said(with).says(b"rtmp://172.17.0.77/live") > 0
                    && !with.between(4_510, 8_000).sent_by("proxy").to("172.17.0.77").is_empty()
            })
        },
        anew("create-stream-silent", |with, _| {
            let said = said_first(with).between(4_490, 5_400);
            said.says(b"NetConnection.Connect.Success") == 1
                && said.says(b"_result") == 1
                && said.flags(FIN, 0).is_empty()
        }),
        anew("create-stream-error", |with, _| {
            let said = said_first(with);
            said.says(b"_result") == 1 && said.says(b"_error") == 1
        }),
        anew("create-stream-close", |with, _| {
            let said = said_first(with);
            said.says(b"_result") == 1 && !said.flags(FIN, 0).is_empty()
        }),
        anew("play-silent", |with, _| {
            let said = said_first(with).between(4_490, 5_400);
            said.says(b"_result") == 2 && said.says(b"onStatus") == 0 && said.flags(FIN, 0).is_empty()
        }),
        anew("play-error", |with, _| {
            said(with).says(b"NetStream.Play.Failed") + said(with).says(b"_error") > 0
        }),
        anew("play-close", |with, _| {
            let said = said_first(with);
            said.says(b"_result") == 2 && said.says(b"onStatus") == 0 && !said.flags(FIN, 0).is_empty()
        }),
        Witness {
            also: &[AWAY, CUT],
            ..anew("not-found", |with, _| said(with).says(b"NetStream.Play.StreamNotFound") > 0)
        },
        Witness {
            keys: ", delay = \"400ms\", for = \"4s\"",
            ..anew("hold-play", |with, without| {
                let answered = |wire: &Wire| {
                    let said = said_first(wire).loaded();
                    said.longest_gap()
                };
                answered(with) >= Duration::from_millis(400) && answered(without) < Duration::from_millis(300)
            })
        },
        at_origin("no-pings", |with, without| {
            // An answer goes alone, and is short.
            let pongs = |wire: &Wire| media(wire).0.iter().filter(|seen| seen.payload.len() < 40).count();
            pongs(with) == 0 && pongs(without) > 3
        }),
        anew("metadata-only", |with, _| {
            let said = said_first(with).between(4_490, 6_000);
            said.says(b"onMetaData") == 1 && said.bytes().len() < HANDSHAKE + 2_000 && said.says(b"avcC") == 0
        }),
        anew("config-only", |with, _| {
            let said = said_first(with).between(4_490, 6_000);
            // A sequence header of AVC, and no frame.
            said.says(b"onMetaData") == 1 && said.says(&[0x17, 0, 0, 0, 0]) == 1 && said.says(&[0x17, 1]) == 0
        }),
        anew("play-empty", |with, _| {
            let said = said_first(with).between(4_490, 6_000);
            said.says(b"NetStream.Play.Start") == 1 && said.says(b"onMetaData") == 0
        }),
        Witness {
            keys: ", ending = \"unpublish-notify\", for = \"4s\"",
            ..at_origin("end", |with, _| {
                with.between(4_050, 4_100).sent_by("origin").says(b"NetStream.Play.UnpublishNotify") == 1
                    && with.between(4_100, 4_900).sent_by("origin").says(&[0x17, 1]) == 0
            })
        },
        Witness {
            keys: "",
            ..at_origin("reconnect-request", |with, _| {
                with.between(4_050, 4_100).sent_by("origin").says(b"NetConnection.Connect.ReconnectRequest")
                    == 1
            })
        },
        // ---- an origin's publishers ----
        at_origin("publisher-away", |with, _| {
            let late = media(with).between(4_200, 5_500);
            late.bytes().len() < 200 && with.between(4_050, 5_500).sent_by("origin").flags(FIN, 0).is_empty()
        }),
        at_origin("no-media", |with, _| {
            let late = media(with).between(4_200, 5_500);
            !late.is_empty() && late.bytes().len() < 200
        }),
        at_origin("drip", |with, without| {
            let frames = |wire: &Wire| media(wire).between(4_100, 6_100).bytes().len() / 10_000;
            (1..=4).contains(&frames(with)) && frames(without) > 6
        }),
        at_origin("no-keyframes", |with, without| {
            let keyframes = |wire: &Wire| media(wire).says(&[0x17, 1]);
            keyframes(with) == 0 && keyframes(without) > 2 && media(with).says(&[0x27, 1]) > 5
        }),
        Witness {
            keys: ", by = \"5h\"",
            ..at_origin("timestamp-jump", |with, without| {
                // Beyond 0xFFFFFF ms a chunk has the rest of its timestamp behind its header.
                let extended = |wire: &Wire| media(wire).says(&[0xFF, 0xFF, 0xFF]);
                extended(with) > extended(without)
            })
        },
        // ---- names ----
        Witness {
            on: "proxy",
            keys: ", name = \"camera\", answer = \"addresses\", ips = [\"172.17.0.77\"], for = \"4s\"",
            ..anew("dns", |with, _| !with.between(4_510, 8_000).sent_by("proxy").to("172.17.0.77").is_empty())
        },
        // ---- the proxy's own host ----
        Witness {
            on: "proxy",
            keys: ", by = \"24h\"",
            ..at_origin("wall-clock", |with, without| with == without)
        },
        Witness {
            on: "proxy",
            keys: ", by = \"200ms\", for = \"4s\"",
            also: &["{ at = \"4200ms\", on = \"origin\", fault = \"refuse\", for = \"3s\" },", CUT],
            ..at_origin("late-timers", |with, without| {
                // The first dial is due at once, the third after a delay.
                let third = |wire: &Wire| {
                    let dials = wire.between(4_500, 8_000).sent_by("proxy").flags(SYN, ACK);
                    Wire(dials.0.into_iter().skip(2).collect()).first()
                };
                let (Some(late), Some(due)) = (third(with), third(without)) else { return false };
                late >= due + Duration::from_millis(200)
            })
        },
        Witness {
            on: "proxy",
            ..anew("no-ports", |with, _| {
                with.between(4_500, 8_000).sent_by("proxy").flags(SYN, ACK).is_empty()
            })
        },
        // ---- players ----
        Witness {
            on: "viewer",
            keys: ", rate = \"16kbit\", for = \"4s\"",
            ..at_origin("slow-reader", |with, without| {
                let window = |wire: &Wire| wire.between(6_000, 8_000).sent_by("viewer").least_window();
                window(with) < window(without) / 2
            })
        },
        Witness {
            on: "viewer",
            ..at_origin("stuck", |with, _| with.between(6_000, 8_000).sent_by("viewer").least_window() == 0)
        },
    ]
}

fn run(events: &str) -> Wire {
    let text = STORY.replace("EVENTS", events);
    let scenario =
        scenario::read(&text, "story.toml").unwrap_or_else(|problems| panic!("{events}: {problems:?}"));
    let trace =
        runner::run_logged(Plane::Core, &scenario, &text, 1, true).expect("plane core takes everything");
    Wire::of(&trace)
}

#[test]
fn every_fault_shows_in_packets_and_only_where_it_is() {
    let mut silent = Vec::new();
    for Witness { fault, on, keys, also, shows } in witnesses() {
        let also = also.join("\n  ");
        let event = format!("{{ at = \"4050ms\", on = \"{on}\", fault = \"{fault}\"{keys} }},\n  {also}");
        let (with, without) = (run(&event), run(&also));
        // What changes nothing on the wire is shown by that.
        let is_still = matches!(fault, "wall-clock" | "handshake-strict");
        let shown = (shows(&with, &without), shows(&without, &without));
        if shown != (true, is_still) {
            silent.push((fault, shown));
        }
    }
    assert_eq!(silent, []);
}

#[test]
fn every_fault_has_a_witness() {
    let has: BTreeSet<&str> = witnesses().iter().map(|witness| witness.fault).collect();
    let missing: Vec<&str> =
        FAULTS.iter().map(|fault| fault.name).filter(|name| !has.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
}
