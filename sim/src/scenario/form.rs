//! How the form is described: one description serves the reader, the lists of allowed words, the printer, `props` and
//! the JSON Schema.

/// A table of the form.
#[derive(Debug)]
pub(crate) struct Form {
    /// Where it stands, as messages call it.
    pub(crate) place: &'static str,
    /// What it is, in a sentence without a full stop.
    pub(crate) text: &'static str,
    /// Its keys, in groups that several forms share.
    pub(crate) groups: &'static [&'static [Key]],
}

/// A key of a table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) need: Need,
    /// What it means, without a full stop.
    pub(crate) text: &'static str,
}

/// Whether a key must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// It must.
    Must,
    /// What its absence means stands in its text.
    May,
    /// Its absence means this, as TOML.
    Else(&'static str),
}

/// Words with a sentence each.
pub(crate) type Words = fn() -> Vec<(&'static str, &'static str)>;

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// A list of texts.
    Texts,
    /// true or false.
    Switch,
    /// A whole number, both ends included.
    Whole(i64, i64),
    /// A list of whole numbers from 0.
    Wholes,
    /// A time, in nanoseconds, both ends included.
    Time(u64, u64),
    /// A time that may be negative, in whole milliseconds.
    Shift,
    /// Percent.
    Share,
    /// Bits per second.
    Rate,
    /// One of these words.
    Word(Words),
    /// A list of these words.
    WordList(Words),
    /// false, true or a codec.
    Codec(Words),
    /// Text, a whole number, true or false, taken as text.
    Plain,
    /// A call of the API.
    Call,
    /// A moment.
    Moment,
    /// A host of these roles.
    Host(Roles),
    /// A list of hosts of these roles.
    Hosts(Roles),
    /// A network.
    Net,
    /// A pull.
    Pull,
    /// A list of pulls.
    Pulls,
    /// A pull, or app/stream.
    PullOrStream,
    /// app/stream.
    Stream,
    /// app/stream, or several, with counting ranges.
    Streams,
    /// An IPv4 address.
    Ip,
    /// A list of IPv4 addresses.
    Ips,
    /// An IPv4 address, `same` or `new`.
    NextIp,
    /// An IPv4 network.
    Subnet,
    /// A time, or two.
    Span,
    /// `WIDTHxHEIGHT`.
    Size,
    /// Bytes of a keyframe and of any other frame.
    FrameBytes,
    /// A time, or frames.
    Gop,
    /// A table.
    Table(&'static Form),
    /// A table of plain values, passed on as text.
    Args,
    /// What `repull.toml` says.
    Config,
    /// A table of named tables, each of one of these forms.
    Named(&'static [&'static Form]),
    /// A list of tables, each of one of these forms.
    Entries(fn() -> Vec<&'static Form>),
}

/// Roles of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles(u8);

impl Roles {
    pub(crate) const ORIGIN: Self = Self(1);
    pub(crate) const PROXY: Self = Self(2);
    pub(crate) const PLAYER: Self = Self(4);
    pub(crate) const ANY: Self = Self(7);
    pub(crate) const SERVER: Self = Self(3);

    /// Returns whether a role is one of these.
    pub(crate) fn has(self, role: Self) -> bool {
        self.0 & role.0 != 0
    }

    /// Returns the names, such as `origin or proxy`.
    pub(crate) fn names(self) -> String {
        let all = [(Self::ORIGIN, "origin"), (Self::PROXY, "proxy"), (Self::PLAYER, "player")];
        let names: Vec<_> =
            all.into_iter().filter(|(role, _)| self.has(*role)).map(|(_, name)| name).collect();
        names.join(" or ")
    }
}

impl Form {
    /// Returns every key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    /// Returns the key of this name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }
}

pub(crate) const fn must(name: &'static str, kind: Kind, text: &'static str) -> Key {
    Key { name, kind, need: Need::Must, text }
}

pub(crate) const fn may(name: &'static str, kind: Kind, text: &'static str) -> Key {
    Key { name, kind, need: Need::May, text }
}

/// A key whose absence means a value, written as TOML.
pub(crate) const fn or(name: &'static str, kind: Kind, default: &'static str, text: &'static str) -> Key {
    Key { name, kind, need: Need::Else(default), text }
}

/// A nanosecond.
const NANOS: u64 = 1;
/// The longest time of a scenario: an hour.
const HOUR: u64 = 3_600_000_000_000;

/// A time that may be nothing.
pub(crate) const TIME: Kind = Kind::Time(0, HOUR);
/// A time that is something.
pub(crate) const SPAN: Kind = Kind::Time(NANOS, HOUR);
