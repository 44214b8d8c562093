//! Adapts a command line to a machine where containers share one file system.

use std::path::Path;

/// Unpacks a code distribution and runs a command in it; takes the directory as an option.
const FAST_EXECUTE: &str = "pyflyte-fast-execute";

/// Where the process starts, which is the work directory of the attempt. Tasks hand the name on to those that they
/// make, so that it must not tell attempts apart.
const HERE: &str = ".";

/// Points what would be unpacked at a fixed place in the image at the work directory of the attempt, so that
/// attempts never share code. Everything else stays as it is.
pub(crate) fn localize(argv: &mut [String]) {
    let name = argv.first().map(Path::new).and_then(Path::file_name);
    if name.is_none_or(|name| name != FAST_EXECUTE) {
        return;
    }
    let mut words = argv.iter_mut().skip(1);
    while let Some(word) = words.next().filter(|word| *word != "--") {
        if word == "--dest-dir" {
            if let Some(value) = words.next() {
                HERE.clone_into(value);
            }
        } else if word.starts_with("--dest-dir=") {
            *word = format!("--dest-dir={HERE}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localized(line: &str) -> String {
        let mut argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        localize(&mut argv);
        argv.join(" ")
    }

    #[test]
    fn only_the_option_of_the_outer_command_is_rewritten() {
        let fast = "pyflyte-fast-execute --additional-distribution s3://b/a --dest-dir";
        assert_eq!(
            localized(&format!("/v/bin/{fast} /root -- pyflyte-execute --dest-dir /root")),
            format!("/v/bin/{fast} . -- pyflyte-execute --dest-dir /root")
        );
        assert_eq!(
            localized("pyflyte-fast-execute --dest-dir=/tmp -- x"),
            "pyflyte-fast-execute --dest-dir=. -- x"
        );
        assert_eq!(localized("python --dest-dir /root"), "python --dest-dir /root");
    }
}
