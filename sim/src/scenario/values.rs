//! A table of the form understood: values by key. What was told as a mistake reads as nothing.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
};

use proxy_core::time::Duration;
use proxyd::config::Settings;

use super::{
    model::{HostRef, NextIp, PullRef, When},
    words::{self, Table},
};

/// Bytes of the text.
pub(crate) type Span = Range<usize>;

/// A value understood.
#[derive(Clone, Debug)]
pub(crate) enum Val {
    Text(String),
    Texts(Vec<String>),
    Switch(bool),
    Number(i128),
    Numbers(Vec<u64>),
    Moment(When),
    Host(HostRef),
    Hosts(Vec<HostRef>),
    Net(u16),
    Pull(PullRef),
    Pulls(Vec<PullRef>),
    Ip(Ipv4Addr),
    Ips(Vec<IpAddr>),
    NextIp(NextIp),
    Subnet(Ipv4Addr, u8),
    Span(Duration, Duration),
    Size(u32, u32),
    FrameBytes(usize, usize),
    /// Frames, or a time.
    Gop(Result<u32, Duration>),
    Table(Values),
    Args(Vec<(String, String)>),
    Config(Box<Settings>),
}

/// A table understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    /// Where it stands.
    pub(crate) span: Span,
    values: BTreeMap<&'static str, (Val, Span)>,
    /// Keys that are there, understood or not.
    keys: Vec<(String, Span)>,
}

impl Values {
    pub(crate) fn new(span: Span) -> Self {
        Self { span, ..Self::default() }
    }

    pub(crate) fn put(&mut self, key: &'static str, value: Val, span: Span) {
        self.values.insert(key, (value, span));
    }

    /// Notes that a key is there.
    pub(crate) fn note(&mut self, key: &str, span: Span) {
        self.keys.push((key.to_owned(), span));
    }

    /// Returns where a key stands, if it is there.
    pub(crate) fn key(&self, key: &str) -> Option<Span> {
        self.keys.iter().find(|(name, _)| name == key).map(|(_, span)| span.clone())
    }

    /// Returns where a value stands, or the table.
    pub(crate) fn at(&self, key: &str) -> Span {
        self.values
            .get(key)
            .map(|(_, span)| span.clone())
            .or_else(|| self.key(key))
            .unwrap_or(self.span.clone())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    fn get(&self, key: &str) -> Option<&Val> {
        self.values.get(key).map(|(value, _)| value)
    }

    pub(crate) fn maybe_text(&self, key: &str) -> Option<String> {
        if let Some(Val::Text(text)) = self.get(key) { Some(text.clone()) } else { None }
    }

    pub(crate) fn text(&self, key: &str) -> String {
        self.maybe_text(key).unwrap_or_default()
    }

    pub(crate) fn maybe_texts(&self, key: &str) -> Option<Vec<String>> {
        if let Some(Val::Texts(texts)) = self.get(key) { Some(texts.clone()) } else { None }
    }

    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        self.maybe_texts(key).unwrap_or_default()
    }

    pub(crate) fn maybe_switch(&self, key: &str) -> Option<bool> {
        if let Some(Val::Switch(on)) = self.get(key) { Some(*on) } else { None }
    }

    pub(crate) fn switch(&self, key: &str) -> bool {
        self.maybe_switch(key).unwrap_or_default()
    }

    /// Returns a number that fits, since its kind says so.
    pub(crate) fn maybe_number<T: TryFrom<i128>>(&self, key: &str) -> Option<T> {
        if let Some(Val::Number(number)) = self.get(key) { T::try_from(*number).ok() } else { None }
    }

    pub(crate) fn number<T: TryFrom<i128> + Default>(&self, key: &str) -> T {
        self.maybe_number(key).unwrap_or_default()
    }

    pub(crate) fn count(&self, key: &str) -> u64 {
        self.number(key)
    }

    pub(crate) fn share(&self, key: &str) -> u32 {
        self.number(key)
    }

    pub(crate) fn numbers(&self, key: &str) -> Vec<u64> {
        if let Some(Val::Numbers(numbers)) = self.get(key) { numbers.clone() } else { Vec::new() }
    }

    pub(crate) fn maybe_time(&self, key: &str) -> Option<Duration> {
        self.maybe_number(key).map(Duration::from_nanos)
    }

    pub(crate) fn time(&self, key: &str) -> Duration {
        self.maybe_time(key).unwrap_or_default()
    }

    /// Returns a shift of time in milliseconds.
    pub(crate) fn maybe_millis(&self, key: &str) -> Option<i64> {
        self.maybe_number::<i64>(key).map(|nanos| nanos / 1_000_000)
    }

    pub(crate) fn millis(&self, key: &str) -> i64 {
        self.maybe_millis(key).unwrap_or_default()
    }

    pub(crate) fn maybe_moment(&self, key: &str) -> Option<When> {
        if let Some(Val::Moment(when)) = self.get(key) { Some(when.clone()) } else { None }
    }

    pub(crate) fn maybe_host(&self, key: &str) -> Option<HostRef> {
        if let Some(Val::Host(host)) = self.get(key) { Some(*host) } else { None }
    }

    pub(crate) fn hosts(&self, key: &str) -> Vec<HostRef> {
        if let Some(Val::Hosts(hosts)) = self.get(key) { hosts.clone() } else { Vec::new() }
    }

    pub(crate) fn maybe_net(&self, key: &str) -> Option<u16> {
        if let Some(Val::Net(net)) = self.get(key) { Some(*net) } else { None }
    }

    pub(crate) fn maybe_pull(&self, key: &str) -> Option<PullRef> {
        if let Some(Val::Pull(pull)) = self.get(key) { Some(*pull) } else { None }
    }

    pub(crate) fn pulls(&self, key: &str) -> Vec<PullRef> {
        if let Some(Val::Pulls(pulls)) = self.get(key) { pulls.clone() } else { Vec::new() }
    }

    pub(crate) fn maybe_ip(&self, key: &str) -> Option<Ipv4Addr> {
        if let Some(Val::Ip(ip)) = self.get(key) { Some(*ip) } else { None }
    }

    pub(crate) fn ips(&self, key: &str) -> Vec<IpAddr> {
        if let Some(Val::Ips(ips)) = self.get(key) { ips.clone() } else { Vec::new() }
    }

    pub(crate) fn next_ip(&self, key: &str) -> NextIp {
        if let Some(Val::NextIp(ip)) = self.get(key) { *ip } else { NextIp::Same }
    }

    pub(crate) fn subnet(&self, key: &str) -> (Ipv4Addr, u8) {
        if let Some(Val::Subnet(ip, len)) = self.get(key) { (*ip, *len) } else { (Ipv4Addr::UNSPECIFIED, 0) }
    }

    pub(crate) fn span(&self, key: &str) -> (Duration, Duration) {
        if let Some(Val::Span(min, max)) = self.get(key) { (*min, *max) } else { Default::default() }
    }

    pub(crate) fn maybe_size(&self, key: &str) -> Option<(u32, u32)> {
        if let Some(Val::Size(width, height)) = self.get(key) { Some((*width, *height)) } else { None }
    }

    pub(crate) fn maybe_frame_bytes(&self, key: &str) -> Option<(usize, usize)> {
        if let Some(Val::FrameBytes(key, other)) = self.get(key) { Some((*key, *other)) } else { None }
    }

    pub(crate) fn maybe_gop(&self, key: &str) -> Option<Result<u32, Duration>> {
        if let Some(Val::Gop(gop)) = self.get(key) { Some(*gop) } else { None }
    }

    pub(crate) fn table(&self, key: &str) -> Option<&Self> {
        if let Some(Val::Table(table)) = self.get(key) { Some(table) } else { None }
    }

    pub(crate) fn args(&self, key: &str) -> Vec<(String, String)> {
        if let Some(Val::Args(args)) = self.get(key) { args.clone() } else { Vec::new() }
    }

    pub(crate) fn config(&self, key: &str) -> Settings {
        if let Some(Val::Config(settings)) = self.get(key) {
            (**settings).clone()
        } else {
            Settings::default()
        }
    }

    /// Returns what a word of a table stands for; the first one for what was told as a mistake.
    pub(crate) fn pick<T: Copy>(&self, key: &str, table: Table<T>) -> T {
        self.maybe_pick(key, table).unwrap_or(table[0].1)
    }

    pub(crate) fn maybe_pick<T: Copy>(&self, key: &str, table: Table<T>) -> Option<T> {
        if let Some(Val::Text(word)) = self.get(key) { words::find(table, word) } else { None }
    }

    /// Returns what a list of words stands for.
    pub(crate) fn pick_all<T: Copy>(&self, key: &str, table: Table<T>) -> Vec<T> {
        self.texts(key).iter().filter_map(|word| words::find(table, word)).collect()
    }
}
