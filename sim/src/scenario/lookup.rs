//! Kinds of values that need more than a look: what refers to something, addresses, streams, tables of anything.

use std::net::{IpAddr, Ipv4Addr};

use proxyd::config::{LoadError, Place, Settings};
use toml_edit::{Item, Value};

use super::{
    Problem,
    form::{Key, Roles},
    model::{HostRef, PullRef},
    read::{Reader, offer},
    unit::TIME,
    values::{Span, Val},
};
use crate::net::packet::host_address;

/// The most streams one text counts out.
const COUNTED_MAX: u64 = 5000;

impl Reader<'_> {
    pub(super) fn host(&mut self, name: &str, host: &str, roles: Roles, at: &Span) -> Option<HostRef> {
        let Some(index) = self.names.hosts.iter().position(|(known, _)| known == host) else {
            let known = self.names.hosts.iter().filter(|(_, role)| roles.has(*role)).map(|(name, _)| name);
            let text = format!("{name}: there is no host {host}{}", offer(host, known));
            return self.no(at, text);
        };
        let role = self.names.hosts[index].1;
        if !roles.has(role) {
            let known = self.names.hosts.iter().filter(|(_, role)| roles.has(*role)).map(|(name, _)| name);
            let text = format!(
                "{name}: {host} is a host of role {}, not {}{}",
                role.names(),
                roles.names(),
                offer(host, known)
            );
            return self.no(at, text);
        }
        u16::try_from(index).ok().map(HostRef)
    }

    pub(super) fn pull(&mut self, name: &str, pull: &str, at: &Span) -> Option<PullRef> {
        let index = self.names.pulls.iter().position(|known| known == pull);
        if index.is_none() {
            let text = format!("{name}: there is no pull {pull}{}", offer(pull, &self.names.pulls));
            self.error(at, text);
        }
        index.and_then(|index| u16::try_from(index).ok()).map(PullRef)
    }

    pub(super) fn stream(&mut self, name: &str, stream: &str, at: &Span) -> bool {
        let is_stream = stream == "all"
            || stream.split_once('/').is_some_and(|(app, stream)| !app.is_empty() && !stream.is_empty());
        if !is_stream {
            self.error(
                at,
                format!("{name}: \"{stream}\" is no stream; write app/stream, such as \"live/111\""),
            );
        }
        is_stream
    }

    /// Reads streams, ranges such as `live/cam{1..500}` counted out.
    pub(super) fn streams(&mut self, name: &str, item: &Item, at: &Span) -> Option<Vec<String>> {
        let written = match item.as_str() {
            Some(text) => vec![(text.to_owned(), at.clone())],
            None => self.texts(name, item, at)?,
        };
        let mut streams = Vec::new();
        for (text, at) in written {
            match count_out(&text) {
                Some(counted) => streams.extend(counted),
                None => {
                    return self.no(
                        &at,
                        format!("{name}: \"{text}\" does not count; write {{1..500}}, at most {COUNTED_MAX}"),
                    );
                }
            }
        }
        streams.iter().all(|stream| self.stream(name, stream, at)).then_some(streams)
    }

    pub(super) fn ip(&mut self, name: &str, ip: &str, at: &Span) -> Option<Ipv4Addr> {
        match ip.parse() {
            Ok(ip) => Some(ip),
            Err(_) => self.no(at, format!("{name}: \"{ip}\" is no IPv4 address")),
        }
    }

    /// Returns an address a name can have.
    pub(super) fn any_ip(&mut self, name: &str, ip: &str, at: &Span) -> Option<IpAddr> {
        match ip.parse() {
            Ok(ip) if host_address(ip).is_some() => Some(ip),
            _ => {
                self.no(at, format!("{name}: \"{ip}\" is no IPv4 address, and no IPv6 address of fd00::/96"))
            }
        }
    }

    pub(super) fn subnet(&mut self, name: &str, text: &str, at: &Span) -> Option<Val> {
        let parts = text.split_once('/').and_then(|(ip, len)| Some((ip.parse().ok()?, len.parse().ok()?)));
        let Some((ip, len @ 8..=30)) = parts else {
            return self
                .no(at, format!("{name}: \"{text}\" is no network; write \"172.17.0.0/16\", /8 to /30"));
        };
        let first = network(ip, len);
        if first != ip {
            return self.no(at, format!("{name}: {text} does not begin a network; {first}/{len} does"));
        }
        Some(Val::Subnet(ip, len))
    }

    /// Reads a time or two.
    pub(super) fn span(&mut self, key: &Key, item: &Item, at: &Span) -> Option<Val> {
        let name = key.name;
        let allowed = (0, 60_000_000_000);
        let (min, max) = match item.as_table_like() {
            None => {
                let time = self.number(name, item, at, TIME, allowed)?;
                (time, time)
            }
            Some(table) => {
                let mut ends = [None, None];
                for (end, item) in table.iter() {
                    let key_at = table.key(end).and_then(toml_edit::Key::span).unwrap_or_else(|| at.clone());
                    let Some(index) = ["min", "max"].iter().position(|known| *known == end) else {
                        return self.no(
                            &key_at,
                            format!("unknown key {end} in {name}{}", offer(end, ["min", "max"])),
                        );
                    };
                    let value_at = item.span().unwrap_or(key_at);
                    ends[index] = self.number(end, item, &value_at, TIME, allowed);
                }
                let [Some(min), Some(max)] = ends else {
                    return self.no(at, format!("{name}: write both, {{ min = \"1ms\", max = \"5ms\" }}"));
                };
                (min, max)
            }
        };
        if min > max {
            return self.no(at, format!("{name}: min is above max"));
        }
        let time =
            |nanos| u64::try_from(nanos).map(proxy_core::time::Duration::from_nanos).unwrap_or_default();
        Some(Val::Span(time(min), time(max)))
    }

    pub(super) fn args(&mut self, name: &str, item: &Item, at: &Span) -> Option<Vec<(String, String)>> {
        let Some(table) = item.as_table_like() else {
            return self.mistaken(name, item, at, "is no table");
        };
        let mut args = Vec::new();
        for (arg, item) in table.iter() {
            match scalar(item) {
                Some(text) => args.push((arg.to_owned(), text)),
                None => {
                    let at = item.span().unwrap_or_else(|| at.clone());
                    self.error(&at, format!("{name}.{arg}: write text, a whole number, true or false"));
                }
            }
        }
        Some(args)
    }

    pub(super) fn config(&mut self, name: &str, item: &Item, at: &Span) -> Option<Val> {
        let Some(table) = item.as_table_like() else {
            return self.mistaken(name, item, at, "is no table");
        };
        let (loaded, problems) = match Settings::parse_table(self.text, table) {
            Ok(loaded) => (Some(loaded.settings), vec![(true, loaded.warnings)]),
            Err(LoadError::Problems { errors, warnings }) => (None, vec![(false, errors), (true, warnings)]),
            Err(LoadError::Read(_) | LoadError::TooLong) => (None, Vec::new()),
        };
        for (is_warning, problems) in problems {
            for problem in problems {
                let place = problem.place.or_else(|| Place::of(self.text, at.start));
                let text = format!("{name}: {}", problem.text);
                self.problems.push(Problem { file: self.file().to_owned(), place, is_warning, text });
            }
        }
        loaded.map(|settings| Val::Config(Box::new(settings)))
    }
}

pub(super) fn plain(texts: Vec<(String, Span)>) -> Vec<String> {
    texts.into_iter().map(|(text, _)| text).collect()
}

/// Returns the network an address is in.
pub(super) fn network(ip: Ipv4Addr, len: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
    Ipv4Addr::from(u32::from(ip) & mask)
}

/// Counts out `{a..b}` in a text; `None` if it does not count.
pub(super) fn count_out(text: &str) -> Option<Vec<String>> {
    let Some((before, rest)) = text.split_once('{') else { return Some(vec![text.to_owned()]) };
    let (range, after) = rest.split_once('}')?;
    let (from, to) = range.split_once("..")?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    let is_few = from <= to && to - from < COUNTED_MAX;
    is_few.then(|| (from..=to).map(|n| format!("{before}{n}{after}")).collect())
}

/// Returns a plain value as text.
pub(super) fn scalar(item: &Item) -> Option<String> {
    match item.as_value()? {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Boolean(on) => Some(on.value().to_string()),
        Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::InlineTable(_) => None,
    }
}

pub(super) fn item_text(item: &Item) -> String {
    match item {
        Item::Value(value) => part_text(value),
        Item::None => "nothing".to_owned(),
        Item::Table(_) => "a table".to_owned(),
        Item::ArrayOfTables(_) => "a list of tables".to_owned(),
    }
}

pub(super) fn part_text(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", text.value()),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => number.display_repr().trim().to_owned(),
        Value::Boolean(on) => on.value().to_string(),
        Value::Datetime(date) => date.value().to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::InlineTable(_) => "a table".to_owned(),
    }
}
