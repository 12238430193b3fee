//! What an origin says when a play ends, or seems to, and what it does then.

use std::{fmt, str::FromStr};

/// Something told to a player that watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// User control StreamEOF.
    StreamEof,
    /// User control StreamDry.
    StreamDry,
    /// NetStream.Play.UnpublishNotify.
    UnpublishNotify,
    /// NetStream.Play.PublishNotify: a publisher is back; it ends [`Then::Quiet`].
    PublishNotify,
    /// NetStream.Play.Stop.
    PlayStop,
    /// `onPlayStatus` with NetStream.Play.Complete (FMS).
    PlayComplete,
    /// NetStream.Play.StreamNotFound.
    StreamNotFound,
    /// NetStream.Play.Failed.
    PlayFailed,
    /// NetStream.Play.InsufficientBW.
    InsufficientBw,
    /// NetConnection.Connect.Closed.
    ConnectClosed,
    /// NetConnection.Connect.Rejected, long after `connect` (FMS).
    ConnectRejected,
    /// NetConnection.Connect.AppShutdown (FMS).
    AppShutdown,
}

/// What follows an [`Ending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// Media goes on as before.
    GoOn,
    /// No more media in this play; all else goes on.
    Quiet,
    /// FIN.
    Fin,
    /// RST.
    Reset,
}

/// How an [`Ending`] travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// A user control event.
    Event(u8),
    /// `onStatus` on the play's message stream: level, code, description.
    Stream(&'static str, &'static str, &'static str),
    /// `onStatus` on the connection.
    Connection(&'static str, &'static str, &'static str),
    /// `onPlayStatus`, a data message.
    PlayStatus(&'static str),
}

impl Ending {
    /// Every ending there is.
    pub const ALL: [Self; 12] = [
        Self::StreamEof,
        Self::StreamDry,
        Self::UnpublishNotify,
        Self::PublishNotify,
        Self::PlayStop,
        Self::PlayComplete,
        Self::StreamNotFound,
        Self::PlayFailed,
        Self::InsufficientBw,
        Self::ConnectClosed,
        Self::ConnectRejected,
        Self::AppShutdown,
    ];

    /// Returns the word scenarios use.
    pub fn name(self) -> &'static str {
        match self {
            Self::StreamEof => "stream-eof",
            Self::StreamDry => "stream-dry",
            Self::UnpublishNotify => "unpublish-notify",
            Self::PublishNotify => "publish-notify",
            Self::PlayStop => "play-stop",
            Self::PlayComplete => "play-complete",
            Self::StreamNotFound => "stream-not-found",
            Self::PlayFailed => "play-failed",
            Self::InsufficientBw => "insufficient-bw",
            Self::ConnectClosed => "connect-closed",
            Self::ConnectRejected => "connect-rejected",
            Self::AppShutdown => "app-shutdown",
        }
    }

    /// Returns the code, or the event, as a viewer is told it.
    pub fn code(self) -> &'static str {
        match self.words() {
            Words::Event(1) => "StreamEOF",
            Words::Event(_) => "StreamDry",
            Words::Stream(_, code, _) | Words::Connection(_, code, _) | Words::PlayStatus(code) => code,
        }
    }

    /// Returns whether a play that is under way is over with it: a player that goes on would wait in vain, or be cut.
    pub(crate) fn ends_play(self) -> bool {
        match self {
            Self::StreamEof
            | Self::StreamDry
            | Self::UnpublishNotify
            | Self::PlayStop
            | Self::PlayComplete
            | Self::StreamNotFound
            | Self::PlayFailed
            | Self::ConnectClosed
            | Self::ConnectRejected
            | Self::AppShutdown => true,
            Self::PublishNotify | Self::InsufficientBw => false,
        }
    }

    pub(crate) fn words(self) -> Words {
        match self {
            Self::StreamEof => Words::Event(1),
            Self::StreamDry => Words::Event(2),
            Self::UnpublishNotify => {
                Words::Stream("status", "NetStream.Play.UnpublishNotify", "Unpublished.")
            }
            Self::PublishNotify => Words::Stream("status", "NetStream.Play.PublishNotify", "Published."),
            Self::PlayStop => Words::Stream("status", "NetStream.Play.Stop", "Stopped."),
            Self::PlayComplete => Words::PlayStatus("NetStream.Play.Complete"),
            Self::StreamNotFound => {
                Words::Stream("error", "NetStream.Play.StreamNotFound", "No such stream.")
            }
            Self::PlayFailed => Words::Stream("error", "NetStream.Play.Failed", "Failed."),
            Self::InsufficientBw => {
                Words::Stream("warning", "NetStream.Play.InsufficientBW", "Too little bandwidth.")
            }
            Self::ConnectClosed => Words::Connection("status", "NetConnection.Connect.Closed", "Closed."),
            Self::ConnectRejected => {
                Words::Connection("error", "NetConnection.Connect.Rejected", "Rejected.")
            }
            Self::AppShutdown => {
                Words::Connection("error", "NetConnection.Connect.AppShutdown", "The application ends.")
            }
        }
    }
}

impl Then {
    /// Everything that can follow.
    pub const ALL: [Self; 4] = [Self::GoOn, Self::Quiet, Self::Fin, Self::Reset];

    /// Returns the word scenarios use.
    pub fn name(self) -> &'static str {
        match self {
            Self::GoOn => "go-on",
            Self::Quiet => "quiet",
            Self::Fin => "fin",
            Self::Reset => "reset",
        }
    }
}

/// A word that names no ending, or nothing that follows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    /// The word.
    pub word: String,
    /// The words allowed.
    pub allowed: Vec<&'static str>,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not known here; allowed: {}", self.word, self.allowed.join(", "))
    }
}

impl std::error::Error for UnknownWord {}

impl FromStr for Ending {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|ending| ending.name() == word);
        found
            .ok_or_else(|| UnknownWord { word: word.to_owned(), allowed: Self::ALL.map(Self::name).to_vec() })
    }
}

impl FromStr for Then {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|then| then.name() == word);
        found
            .ok_or_else(|| UnknownWord { word: word.to_owned(), allowed: Self::ALL.map(Self::name).to_vec() })
    }
}
