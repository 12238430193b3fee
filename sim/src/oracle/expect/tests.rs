//! Expectations judged on runs made by hand.

use proxy_core::{
    io::{ConnId, EventKind, Hangup, PlayOutput, PullEventKind as E, PullFailure, PullState as S, StreamEnd},
    time::{Duration, Instant},
};

use super::*;
use crate::{
    oracle::story::{
        ADDR, ORIGIN, ORIGIN_HOST, OTHER_HOST, PLAYER, PLAYER_HOST, Story, dial, expecting, fault, happens,
    },
    scenario::model::{Act, Anchor, Call, Event, Fault, Layer, Level, Never, ReplyWanted},
    trace::{Inward, Saw, SeatId},
};

/// At so many ms.
fn at(ms: i64) -> When {
    When { anchor: Anchor::Zero, offset: ms * 1_000_000 }
}

fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}

/// What is wanted stands on line 7; a story is told up to the end of the calm phase.
fn check(what: Wanted, tell: impl FnOnce(&mut Story)) -> Vec<String> {
    judge(vec![fault(9, ORIGIN_HOST, Fault::Refuse)], vec![Expect { line: 7, what }], tell)
}

fn judge(events: Vec<Event>, expects: Vec<Expect>, tell: impl FnOnce(&mut Story)) -> Vec<String> {
    let scenario = expecting(events, expects);
    let family = Expectations::new(&scenario, Strictness::default());
    let mut texts = Story::told_to(&scenario, Box::new(family), |story| {
        tell(story);
        story.at(40_000).calm();
        story.oracles().on_calm_over(Instant::from_millis(41_000));
    });
    // Most of these stories leave their event out.
    texts.retain(|text| !text.starts_with("expect: begins"));
    texts
}

fn frame(story: &mut Story, ms: u64) {
    story.at(ms).saw(0, Saw { frames: 1, ..Saw::default() });
}

fn frames_at(at_most: Option<Duration>, max_gap: Option<Duration>, until: Option<When>) -> Wanted {
    Wanted::FramesAt { players: vec![PLAYER_HOST], after: at(1_000), at_most, max_gap, until }
}

#[test]
fn the_first_frame_comes_in_time_or_not() {
    let wanted = || frames_at(ms(500), None, None);
    let told = |first: Option<u64>| {
        check(wanted(), |story| {
            story.watched();
            frame(story, 900);
            first.into_iter().for_each(|first| frame(story, first));
        })
    };
    assert_eq!(told(Some(1_500)), [""; 0]);
    let texts = told(Some(1_501));
    assert!(
        texts[0].starts_with("expect: frames_at: viewer at live/a by Rtmp (connected; the proxy thinks"),
        "{texts:?}"
    );
    assert!(
        texts[0]
            .ends_with("a frame since 1.000000s: it was wanted within 0.500 s, which is over at 1.500000s")
    );
    assert_eq!(told(None).len(), 1);
}

#[test]
fn who_joins_later_counts_from_there() {
    let told = |first: u64| {
        check(frames_at(ms(500), None, None), |story| {
            story.register(1, "live/a");
            story.at(9_000).player(0, PlayOutput::HttpFlv, "live/a", 1);
            frame(story, first);
        })
    };
    assert_eq!(told(9_500), [""; 0]);
    assert_eq!(told(9_501).len(), 1);
}

#[test]
fn nobody_who_plays_is_a_finding() {
    let texts = check(frames_at(ms(500), None, None), |_| {});
    assert_eq!(
        texts,
        ["expect: frames_at: nobody of viewer has played by an output that could get it: nothing was judged"]
    );
}

#[test]
fn gaps_count_between_the_first_frame_and_the_end() {
    let told = |times: &[u64], until: i64| {
        check(frames_at(None, ms(1_000), Some(at(until))), |story| {
            story.watched();
            times.iter().for_each(|time| frame(story, *time));
            story.at(30_000).timeout();
        })
    };
    assert_eq!(told(&[1_500, 2_500, 3_500, 4_000], 4_900), [""; 0]);
    // Silence goes on past the end, and has not been too long by then.
    assert_eq!(told(&[1_500, 2_500, 9_000], 3_400), [""; 0]);
    let texts = told(&[1_500, 2_501], 4_000);
    assert!(
        texts[0].contains("saw no frame for 1.001 s since 1.500000s: at most 1.000 s was wanted"),
        "{texts:?}"
    );
    // It never comes back.
    assert!(told(&[1_500], 4_000)[0].contains("saw no frame for 2.500 s since 1.500000s"));
}

#[test]
fn a_player_that_leaves_is_not_waited_for() {
    let texts = check(frames_at(ms(500), ms(500), None), |story| {
        story.watched();
        story.at(1_200).record(PLAYER, What::PlayerLeaves { seat: SeatId(0) });
    });
    assert_eq!(texts, [""; 0]);
}

#[test]
fn a_status_is_told_to_who_can_hear_it() {
    let told = |status: &str, says: Option<u64>| {
        let wanted = Wanted::Told {
            players: vec![PLAYER_HOST],
            status: status.to_owned(),
            after: at(1_000),
            at_most: ms(100),
        };
        check(wanted, |story| {
            story.watched();
            if let Some(says) = says {
                let status = status.to_owned();
                story.at(says).record(PLAYER, What::PlayerTold { seat: SeatId(0), status });
            }
        })
    };
    assert_eq!(told("StreamEOF", Some(1_100)), [""; 0]);
    assert_eq!(told("StreamEOF", Some(900)).len(), 1);
    assert!(told("StreamEOF", None)[0].contains("has not got StreamEOF since 1.000000s"));
    assert!(told("HTTP 404", None)[0].contains("nobody of viewer has played by an output"));
}

/// Something happens at 2 s that never should between 1 s and 3 s.
fn never(what: Never, happens_at: u64, happens: impl Fn(&mut Story)) -> Vec<String> {
    let wanted =
        Wanted::Never { what, players: Vec::new(), pulls: Vec::new(), from: at(1_000), until: at(3_000) };
    check(wanted, |story| {
        story.watched();
        story.at(happens_at).timeout();
        happens(story);
    })
}

#[test]
fn what_never_should_happen_is_found_in_its_window_alone() {
    type Happens = fn(&mut Story);
    let all: [(Never, Happens); 9] = [
        (Never::PlayerDisconnected, |story| {
            story.record(PLAYER, What::PlayerLost { seat: SeatId(0), cause: "EOF".to_owned() });
        }),
        (Never::Frames, |story| story.saw(0, Saw { frames: 1, ..Saw::default() })),
        (Never::Interrupted, |story| story.loses(1, 2, 1, story.now())),
        (Never::Dialled, |story| {
            story.out(dial::connect(4));
            story.step(1, S::Queued, E::Granted, S::Connecting);
        }),
        (Never::Replayed, |story| story.step(1, S::Streaming, E::Deadline, S::Replaying)),
        (Never::Rebuilt, |story| story.event(1, EventKind::Rebuilt)),
        (Never::Registered, |story| {
            story.removes(1, "live/a", StreamEnd::Deleted);
            story.register(2, "live/a");
        }),
        (Never::Unregistered, |story| story.removes(1, "live/a", StreamEnd::Deleted)),
        (Never::Shed, |story| story.event(1, EventKind::PlayerShed { conn: ConnId(1), frames: 3 })),
    ];
    for (what, happens) in all {
        assert_eq!(never(what, 2_000, happens).len(), 1, "{what:?}");
        assert_eq!(never(what, 900, happens), [""; 0], "{what:?}");
        assert_eq!(never(what, 3_000, happens), [""; 0], "{what:?}");
        assert_eq!(never(what, 2_000, |_| {}), [""; 0], "{what:?}");
    }
    let texts = never(Never::Interrupted, 2_000, |story| story.loses(1, 2, 1, story.now()));
    assert_eq!(
        texts,
        [
            "expect: never: live/a left streaming for backing-off by closed at 2.000000s, between 1.000000s and 3.000000s"
        ]
    );
}

#[test]
fn never_of_other_pulls_and_players_does_not_count() {
    let wanted = |pulls: Vec<PullRef>, players: Vec<HostRef>, what| Wanted::Never {
        what,
        players,
        pulls,
        from: at(0),
        until: at(9_000),
    };
    let lost = |story: &mut Story| {
        story.watched();
        story.record(PLAYER, What::PlayerLost { seat: SeatId(0), cause: "EOF".to_owned() });
    };
    assert_eq!(check(wanted(Vec::new(), vec![OTHER_HOST], Never::PlayerDisconnected), lost), [""; 0]);
    let other = |story: &mut Story| {
        story.register(1, "live/b");
        story.event(1, EventKind::Rebuilt);
    };
    assert_eq!(check(wanted(vec![PullRef(0)], Vec::new(), Never::Rebuilt), other), [""; 0]);
}

#[test]
fn dials_are_counted_by_host() {
    let told = |to, at_least, at_most| {
        let wanted = Wanted::Dials { to, from: at(1_000), until: at(3_000), at_least, at_most };
        check(wanted, |story| {
            assert_eq!(story.oracles().scene().host_at(ADDR), Some(ORIGIN_HOST));
            for (n, time) in [500, 1_000, 2_000, 2_500, 3_500].into_iter().enumerate() {
                story.at(time).out(dial::connect(2 + 2 * n as u64));
            }
        })
    };
    assert_eq!(told(Some(ORIGIN_HOST), Some(3), Some(3)), [""; 0]);
    assert_eq!(told(None, Some(3), None), [""; 0]);
    assert_eq!(told(Some(OTHER_HOST), None, Some(0)), [""; 0]);
    assert_eq!(
        told(Some(ORIGIN_HOST), None, Some(2)),
        [
            "expect: dials: srs was dialled 3 times between 1.000000s and 3.000000s: at least any and at most 2 were wanted"
        ]
    );
    assert_eq!(told(Some(ORIGIN_HOST), Some(4), None).len(), 1);
}

#[test]
fn a_state_is_entered_in_time_or_not() {
    let told = |enters: Option<u64>| {
        let wanted =
            Wanted::Entered { pull: PullRef(0), state: S::BackingOff, after: at(1_000), within: ms(500) };
        check(wanted, |story| {
            story.watched();
            if let Some(enters) = enters {
                story.at(enters).loses(1, 2, 1, Instant::from_millis(enters));
            }
        })
    };
    assert_eq!(told(Some(1_500)), [""; 0]);
    assert_eq!(told(Some(900)).len(), 1);
    let texts = told(None);
    assert!(
        texts[0].contains("live/a (p1) has not entered backing-off since 1.000000s, it is streaming since"),
        "{texts:?}"
    );
}

#[test]
fn a_removal_comes_in_time_or_not() {
    let told = |removed: Option<u64>| {
        let wanted = Wanted::Removed { pull: PullRef(0), after: at(1_000), within: ms(500) };
        check(wanted, |story| {
            story.watched();
            if let Some(removed) = removed {
                story.at(removed).removes(1, "live/a", StreamEnd::Deleted);
            }
        })
    };
    assert_eq!(told(Some(1_500)), [""; 0]);
    // It is gone already when the moment comes.
    assert_eq!(told(Some(500)), [""; 0]);
    assert!(
        told(None)[0]
            .contains("live/a (p1) is streaming since 0.000000s: its removal was wanted within 0.500 s")
    );
}

#[test]
fn each_layer_is_told_from_the_others() {
    let told = |layer, notices: fn(&mut Story)| {
        let wanted = Wanted::NoticedBy { pull: PullRef(0), layer, after: at(1_000), within: ms(9_000) };
        check(wanted, |story| {
            story.watched();
            story.at(5_000).timeout();
            notices(story);
        })
    };
    let by_transport: fn(&mut Story) = |story| story.loses(1, 2, 1, story.now());
    let by_ping: fn(&mut Story) = |story| {
        story.event(
            1,
            EventKind::PullStepped { state: S::Streaming, event: E::Deadline, next: S::BackingOff },
        );
        story.enters(1, S::BackingOff, Some(PullFailure::PingTimeout), 1, Some(story.now()));
    };
    let by_word: fn(&mut Story) = |story| story.step(1, S::Streaming, E::Ended, S::Replaying);
    let by_silence: fn(&mut Story) = |story| story.step(1, S::Streaming, E::Deadline, S::Replaying);
    let by_operator: fn(&mut Story) = |story| story.step(1, S::Streaming, E::Restart, S::Resolving);
    for (layer, notices) in [
        (Layer::Transport, by_transport),
        (Layer::Rtmp, by_ping),
        (Layer::Rtmp, by_word),
        (Layer::Media, by_silence),
    ] {
        assert_eq!(told(layer, notices), [""; 0], "{layer:?}");
        let other = if layer == Layer::Media { Layer::Rtmp } else { Layer::Media };
        let texts = told(other, notices);
        assert!(texts[0].contains(&format!("was noticed by {layer:?}")), "{texts:?}");
    }
    assert!(told(Layer::Rtmp, by_operator)[0].contains("nothing was noticed of live/a (p1)"));
}

#[test]
fn each_level_is_told_from_the_others() {
    let told = |level, recovers: fn(&mut Story)| {
        let wanted = Wanted::RecoveredBy { pull: PullRef(0), level, after: at(1_000) };
        check(wanted, |story| {
            story.watched();
            story.at(5_000).timeout();
            recovers(story);
        })
    };
    let by_replay: fn(&mut Story) = |story| {
        story.step(1, S::Streaming, E::Deadline, S::Replaying);
        story.step(1, S::Replaying, E::Playing, S::AwaitingMedia);
        story.step(1, S::AwaitingMedia, E::Frame, S::Streaming);
    };
    let by_redial: fn(&mut Story) = |story| {
        story.loses(1, 2, 1, story.now());
        story.dials(1, 4);
        story.streams(1, 4);
    };
    let by_rebuild: fn(&mut Story) = |story| {
        story.loses(1, 2, 1, story.now());
        story.event(1, EventKind::Rebuilt);
        story.dials(1, 4);
        story.streams(1, 4);
    };
    // `resetWhenRePlay` drops the context in the breath of the interruption, and tells so first.
    let by_rebuild_at_once: fn(&mut Story) = |story| {
        story.input(Inward::Closed { conn: 2, hangup: Hangup::Reset });
        story.event(1, EventKind::Rebuilt);
        let (state, event, next) = (S::Streaming, E::Closed, S::BackingOff);
        story.event(1, EventKind::PullStepped { state, event, next });
        let failure = PullFailure::Lost(Hangup::Reset);
        story.enters(1, S::BackingOff, Some(failure), 1, Some(story.now()));
        story.dials(1, 4);
        story.streams(1, 4);
    };
    for (level, recovers) in [
        (Level::Replay, by_replay),
        (Level::Redial, by_redial),
        (Level::Rebuild, by_rebuild),
        (Level::Rebuild, by_rebuild_at_once),
    ] {
        assert_eq!(told(level, recovers), [""; 0], "{level:?}");
        let other = if level == Level::Replay { Level::Redial } else { Level::Replay };
        assert_eq!(
            told(other, recovers),
            [format!("expect: recovered_by: live/a (p1) came back by {level:?}, {other:?} was wanted")]
        );
    }
    assert!(told(Level::Replay, |_| {})[0].contains("has not come back from anything since 1.000000s"));
}

#[test]
fn what_was_never_judged_is_a_finding() {
    let wanted = Wanted::FramesAt {
        players: vec![PLAYER_HOST],
        after: When { anchor: Anchor::Cleared(0), offset: 0 },
        at_most: ms(100),
        max_gap: None,
        until: None,
    };
    let texts = check(wanted.clone(), Story::watched);
    let told = "the moment it counts from, `event1.cleared` (of line 9), never came, so it was not judged";
    assert!(texts[0].contains(told), "{texts:?}");
    let texts = check(wanted, |story| {
        story.watched();
        story.at(500).begins(0);
        story.at(900).lifts(0);
        frame(story, 1_000);
    });
    assert_eq!(texts, [""; 0]);
}

#[test]
fn a_hosts_moment_is_its_first_after_the_last_fault_on_it() {
    let wanted = Wanted::FramesAt {
        players: vec![PLAYER_HOST],
        after: When { anchor: Anchor::Serving(ORIGIN_HOST), offset: 0 },
        at_most: ms(100),
        max_gap: None,
        until: None,
    };
    let texts = check(wanted, |story| {
        story.watched();
        frame(story, 10);
        story.at(500).begins(0);
        story.at(900).record(ORIGIN, What::Moment(Moment::Serving));
        frame(story, 1_001);
    });
    assert_eq!(texts.len(), 1, "{texts:?}");
}

/// A call of the timeline is answered; what is wanted of the reply stands on line 9.
fn replies(wanted: ReplyWanted, answered: Option<(u64, &str)>, tell: impl Fn(&mut Story)) -> Vec<String> {
    let call = Call {
        proxy: HostRef(0),
        call: "addStreamProxy".to_owned(),
        pull: Some(PullRef(0)),
        args: Vec::new(),
        reply: wanted,
    };
    judge(vec![happens(9, Act::Call(call))], Vec::new(), |story| {
        tell(story);
        let call = story.at(6_000).asks_by(0, "addStreamProxy", "live/a");
        if let Some((ms, body)) = answered {
            story.at(ms).answers(call, body);
        }
    })
}

#[test]
fn replies_are_what_was_wanted_or_found() {
    let body = r#"{"code":0,"msg":"success","data":{"state":"streaming","n":7}}"#;
    let fields = |state: &str| {
        vec![("data.state".to_owned(), state.to_owned()), ("data.n".to_owned(), "7".to_owned())]
    };
    let none = ReplyWanted::default;
    for (good, bad) in [
        (ReplyWanted { code: Some(0), ..none() }, ReplyWanted { code: Some(-1), ..none() }),
        (
            ReplyWanted { msg: Some("succ".to_owned()), ..none() },
            ReplyWanted { msg: Some("fail".to_owned()), ..none() },
        ),
        (ReplyWanted { within: ms(500), ..none() }, ReplyWanted { within: ms(499), ..none() }),
        (
            ReplyWanted { fields: fields("streaming"), ..none() },
            ReplyWanted { fields: fields("x"), ..none() },
        ),
    ] {
        assert_eq!(replies(good, Some((6_500, body)), Story::watched), [""; 0]);
        assert_eq!(replies(bad.clone(), Some((6_500, body)), Story::watched).len(), 1, "{bad:?}");
    }
    let texts = replies(ReplyWanted { code: Some(0), ..none() }, None, Story::watched);
    assert_eq!(texts, ["expect: reply: call 1 of 6.000000s was never answered"]);
}

#[test]
fn lists_hold_what_was_wanted_and_no_more() {
    let wanted = |streams: &[&str]| ReplyWanted {
        streams: Some(streams.iter().map(|name| (*name).to_owned()).collect()),
        ..ReplyWanted::default()
    };
    let body =
        r#"{"code":0,"data":[{"app":"live","stream":"a"},{"key":"k","src":{"app":"live","stream":"b"}}]}"#;
    assert_eq!(replies(wanted(&["live/b", "live/a"]), Some((6_000, body)), Story::watched), [""; 0]);
    assert_eq!(replies(wanted(&["live/a"]), Some((6_000, body)), Story::watched).len(), 1);
    assert_eq!(replies(wanted(&[]), Some((6_000, r#"{"code":0}"#)), Story::watched), [""; 0]);
}

#[test]
fn a_refusal_is_true_while_frames_arrive() {
    let wanted = || ReplyWanted { refusal_only_if_true: true, ..ReplyWanted::default() };
    let body = Some((6_000, r#"{"code":-1,"msg":"This stream already exists"}"#));
    let fresh = |story: &mut Story| {
        story.watched();
        story.at(1_001).frame(1, 2, crate::raw::media::Track::Video);
    };
    assert_eq!(replies(wanted(), body, fresh), [""; 0]);
    let texts = replies(wanted(), body, Story::watched);
    assert!(
        texts[0].contains("its last frame arrived 6.000 s ago: that is true for 5.000 s only"),
        "{texts:?}"
    );
    assert!(replies(wanted(), body, |_| {})[0].contains("live/a is not registered"));
}

#[test]
fn a_call_that_was_never_made_is_a_finding() {
    let call = Call {
        proxy: HostRef(0),
        call: "getMediaList".to_owned(),
        pull: None,
        args: Vec::new(),
        reply: ReplyWanted { code: Some(0), ..ReplyWanted::default() },
    };
    let texts = judge(vec![happens(9, Act::Call(call))], Vec::new(), |_| {});
    assert_eq!(
        texts,
        [
            "expect: reply: the call was never made, as `0s` never came before the end: its reply was not judged"
        ]
    );
}
