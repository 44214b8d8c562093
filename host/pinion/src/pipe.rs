//! Ends the program quietly when whoever reads what it prints goes away, as `pinion get executions | head` does.

use std::any::Any;
use std::panic;

/// From now on a closed standard output is no panic with a message but the end of the program.
pub(crate) fn end_quietly() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if is_closed_output(info.payload()) {
            std::process::exit(0);
        }
        usual(info);
    }));
}

/// Whether a panic is the one of `println!` into a pipe that nobody reads any more.
fn is_closed_output(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.is_some_and(|text| text.starts_with("failed printing to stdout") && text.contains("Broken pipe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_output_is_taken_for_one() {
        let is_closed = |text: &str| is_closed_output(&text.to_owned());
        assert!(is_closed("failed printing to stdout: Broken pipe (os error 32)"));
        assert!(!is_closed("failed printing to stdout: No space left on device (os error 28)"));
        assert!(!is_closed("index out of bounds: Broken pipe"));
    }
}
