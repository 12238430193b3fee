//! A run that panics is a failure like another: the core's assertions are on in every build.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// What the last panic of this thread said, and where.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Panics of this thread are caught.
    static IS_GUARDED: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs something; a panic comes back as its text and place, and is not printed.
///
/// # Errors
/// It panicked: what it said, and where.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_GUARDED.with(|is_guarded| *is_guarded.borrow()) {
                let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
                let text = info.payload_as_str().unwrap_or("a panic without words");
                LAST.with(|last| *last.borrow_mut() = Some(format!("{text}{}", place.unwrap_or_default())));
            } else {
                before(info);
            }
        }));
    });
    let was_guarded = IS_GUARDED.with(|is_guarded| is_guarded.replace(true));
    // What was under way is thrown away whole.
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    IS_GUARDED.with(|is_guarded| is_guarded.replace(was_guarded));
    outcome.map_err(|_| LAST.with(|last| last.borrow_mut().take()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place() {
        assert_eq!(guarded(|| 7), Ok(7));
        let told = guarded(|| -> u8 { panic!("the core is wrong") });
        let told = told.expect_err("it panicked");
        assert!(told.starts_with("the core is wrong at ") && told.contains("guard.rs:"), "{told}");
    }
}
