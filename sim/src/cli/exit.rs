//! Exit codes.

/// Every promise was held.
pub const HELD: u8 = 0;
/// A promise was broken.
pub const BROKEN: u8 = 1;
/// A bad file, or a command line that is not understood.
pub const USAGE: u8 = 2;
/// Two runs of the same seed differ.
pub const NOT_DETERMINISTIC: u8 = 3;
/// A mark was not reached.
pub const MARK_MISSED: u8 = 4;
/// A planted defect survived.
pub const SURVIVED: u8 = 5;
/// No verdict in time.
pub const NO_VERDICT: u8 = 6;
