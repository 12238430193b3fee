//! Players kept, parked and cut in runs made by hand.

use proxy_core::io::{Hangup, PullEventKind as E, PullState as S};

use super::*;
use crate::{
    oracle::story::{PLAYER, Story, dial},
    trace::SeatId,
};

fn check(tell: impl FnOnce(&mut Story)) -> Vec<String> {
    Story::told::<Seats>(tell)
}

fn told(story: &mut Story, status: &str) {
    story.record(PLAYER, What::PlayerTold { seat: SeatId(0), status: status.to_owned() });
}

fn lost(story: &mut Story) {
    story.record(PLAYER, What::PlayerLost { seat: SeatId(0), cause: "EOF".to_owned() });
}

#[test]
fn a_player_that_hangs_up_has_left() {
    let texts = check(|story| {
        story.watched();
        story.input(Inward::Closed { conn: 1, hangup: Hangup::Eof });
        story.leaves(1, 1, PlayerEnd::Left(Hangup::Eof));
        story.timeout();
    });
    assert_eq!(texts, [""; 0]);
}

#[test]
fn a_player_that_has_not_hung_up_has_not_left() {
    let texts = check(|story| {
        story.watched();
        story.timeout();
        story.leaves(1, 1, PlayerEnd::Left(Hangup::Eof));
    });
    assert_eq!(texts, ["seats: player 1 left as Left(Eof), and no end of its connection came in"]);
}

#[test]
fn a_player_that_is_cut_without_a_word_is_found() {
    let texts = check(|story| {
        story.watched();
        story.out(dial::abort(1));
        story.timeout();
    });
    assert_eq!(texts, ["seats: player 1 of 0.000000s was hung up on, and nothing tells why"]);
}

#[test]
fn who_waited_for_a_stream_has_a_seat_when_it_begins() {
    for (seated, words) in
        [(2, vec![]), (1, vec!["seats: player 4 waits for live/a, which streams: a seat was promised"])]
    {
        let texts = check(|story| {
            story.register(1, "live/a");
            for (seat, conn) in [(0, 3), (1, 4)] {
                story.player(seat, PlayOutput::Rtmp, "live/a", conn);
                story.parks(Some(1), "live/a", conn);
            }
            story.dials(1, 2);
            story.streams(1, 2);
            story.enters(1, PullState::Streaming, None, 0, None);
            for conn in [3, 4].into_iter().take(seated) {
                story.seats(1, conn);
            }
            story.at(1_000).timeout();
        });
        assert_eq!(texts, words);
    }
}

/// The stream is lost at 1 s; the player is cut at a time, told or not.
fn holds(cut_at: Option<u64>, is_told: bool) -> Vec<String> {
    check(|story| {
        story.watched();
        story.at(1_000).loses(1, 2, 1, Instant::from_millis(1_100));
        if let Some(at) = cut_at {
            story.at(at).timeout();
            story.out(dial::close(1));
            story.leaves(1, 1, PlayerEnd::HoldExpired);
            if is_told {
                told(story, "StreamEOF");
            }
            lost(story);
        }
        story.at(302_000).timeout();
    })
}

#[test]
fn players_are_held_exactly_as_long_as_promised() {
    assert_eq!(holds(Some(301_000), true), [""; 0]);
    let texts = holds(Some(300_999), true);
    assert!(texts[0].contains("live/a is down for 299.999 s only: 300.000 s were promised"), "{texts:?}");
    let texts = holds(None, true);
    assert!(
        texts[0].contains("player 1 still sits at live/a, down since 1.000000s: it was to be cut at 301")
    );
}

#[test]
fn players_that_are_cut_are_told() {
    let texts = holds(Some(301_000), false);
    assert_eq!(texts, ["seats: a player of live/a lost its connection (EOF) and was not told StreamEOF"]);
}

/// A player waits from 0 s on, and is refused at a time.
fn waits(refused_at: Option<u64>) -> Vec<String> {
    check(|story| {
        story.player(0, PlayOutput::Rtmp, "live/a", 1);
        story.parks(None, "live/a", 1);
        if let Some(at) = refused_at {
            story.at(at).timeout();
            story.out(dial::close(1));
            story.leaves_unseated(1, PlayerEnd::NotFound);
            told(story, "NetStream.Play.StreamNotFound");
            lost(story);
        }
        story.at(16_000).timeout();
    })
}

#[test]
fn players_wait_exactly_as_long_as_promised() {
    assert_eq!(waits(Some(15_000)), [""; 0]);
    assert!(waits(Some(14_999))[0].contains("waits since 0.000000s only: 15.000 s were promised"));
    assert!(
        waits(None)[0].contains("has waited for live/a since 0.000000s: it was to be refused after 15.000 s")
    );
}

#[test]
fn who_may_sit_sits_and_who_may_not_waits() {
    let texts = check(|story| {
        story.watched();
        story.player(1, PlayOutput::HttpFlv, "live/a", 3);
        story.parks(Some(1), "live/a", 3);
    });
    assert_eq!(texts, ["seats: player 3 waits for live/a, which has streamed: a seat was promised"]);
    let texts = check(|story| {
        story.register(1, "live/a");
        story.player(0, PlayOutput::Rtmp, "live/a", 1);
        story.seats(1, 1);
    });
    assert_eq!(texts, ["seats: player 1 has a seat at live/a, which has never streamed"]);
}

/// A player takes bytes at 2 s, or has none to take, and is cut as stuck at a time.
fn stuck(bytes: u32, at: u64) -> Vec<String> {
    check(|story| {
        story.watched();
        story.at(2_000).out(Outward::Transmit { conn: 1, len: bytes });
        story.input(Inward::Sent { conn: 1, len: 10 });
        story.at(at).timeout();
        story.out(dial::abort(1));
        story.leaves(1, 1, PlayerEnd::Stuck);
    })
}

#[test]
fn only_who_takes_nothing_is_stuck() {
    assert_eq!(stuck(20, 17_000), [""; 0]);
    assert!(
        stuck(20, 16_999)[0]
            .contains("it took bytes 14.999 s ago: 15.000 s without any were promised, 10 are")
    );
    assert!(stuck(10, 30_000)[0].contains("it has taken every byte"));
}

#[test]
fn a_stream_has_ended_when_it_is_removed() {
    let ends = |is_removed: bool| {
        check(|story| {
            story.watched();
            story.asks("delStreamProxy", Some("live/a"), &[], true);
            story.step(1, S::Streaming, E::Stop, S::Stopped);
            story.out(dial::close(1));
            story.leaves(1, 1, PlayerEnd::StreamEnded(StreamEnd::Deleted));
            if is_removed {
                story.removes(1, "live/a", StreamEnd::Deleted);
            }
            story.timeout();
            told(story, "StreamEOF");
            lost(story);
        })
    };
    assert_eq!(ends(true), [""; 0]);
    assert_eq!(
        ends(false),
        ["seats: player 1 was told that its stream has ended (Deleted), and the stream goes on"]
    );
}

#[test]
fn nobody_is_kicked_denied_or_wrong_without_cause() {
    for reason in
        [PlayerEnd::Kicked, PlayerEnd::Denied, PlayerEnd::Session(proxy_core::session::SessionError::Flood)]
    {
        let texts = check(|story| {
            story.watched();
            story.timeout();
            story.leaves(1, 1, reason.clone());
        });
        assert_eq!(texts.len(), 1, "{reason:?}");
    }
    let texts = check(|story| {
        story.watched();
        story.asks("kick_sessions", None, &[], true);
        story.leaves(1, 1, PlayerEnd::Kicked);
    });
    assert_eq!(texts, [""; 0]);
}

#[test]
fn a_connection_that_the_proxy_counts_is_not_lost() {
    let texts = check(|story| {
        story.watched();
        lost(story);
    });
    assert!(texts[0].contains("lost its connection (EOF), which the proxy counts as player 1"), "{texts:?}");
}
