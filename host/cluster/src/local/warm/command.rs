//! Recognises the command lines that a warm parent can take over: console scripts of flytekit's entrypoints.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::local::{environment::find_program, protocol::Launch};

/// The scripts that are known, and the module that each of them calls.
pub(crate) const ENTRYPOINTS: [&str; 3] = ["pyflyte-execute", "pyflyte-fast-execute", "pyflyte-map-execute"];
const ENTRYPOINT_MODULE: &str = "flytekit.bin.entrypoint";

/// Runs its task in a second interpreter when started cold.
const FAST_EXECUTE: &str = "pyflyte-fast-execute";

/// The interpreter of an environment, with what is put on its command line, and the scripts beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Interpreter {
    pub program: PathBuf,
    pub flags: Vec<String>,
    /// Where the console scripts are.
    pub scripts: PathBuf,
}

/// A command line that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub interpreter: Interpreter,
    /// Whether a cold start goes through a second interpreter.
    pub two_step: bool,
    /// What the task is, as far as the command line tells: its resolver and the arguments of that.
    pub task: String,
}

/// Remembers what scripts looked like.
#[derive(Default)]
pub(crate) struct Scripts {
    seen: Mutex<HashMap<PathBuf, (Stamp, Option<Interpreter>)>>,
}

/// Changes when the file does.
type Stamp = (i64, i64, u64);

impl Scripts {
    /// Looks at the command line; `None` if only a cold start will do.
    pub(crate) fn recognise(&self, launch: &Launch) -> Option<Command> {
        let path = Path::new(&launch.program);
        let name = path.file_name()?.to_str().filter(|name| ENTRYPOINTS.contains(name))?;
        let interpreter = self.interpreter(path, &launch.env)?;
        let after = launch.argv.iter().position(|word| word == "--resolver");
        let task = after.map_or_else(String::new, |at| launch.argv[at..].join("\n"));
        Some(Command { interpreter, two_step: name == FAST_EXECUTE, task })
    }

    fn interpreter(&self, script: &Path, env: &BTreeMap<String, String>) -> Option<Interpreter> {
        let metadata = fs::metadata(script).ok()?;
        let stamp = (metadata.mtime(), metadata.mtime_nsec(), metadata.size());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(script) {
            Some((known, interpreter)) if *known == stamp => interpreter.clone(),
            _ => {
                let text = fs::read_to_string(script).unwrap_or_default();
                let interpreter = read_script(&text, script, env);
                seen.insert(script.to_owned(), (stamp, interpreter.clone()));
                interpreter
            }
        }
    }
}

/// Reads the first lines of a console script.
fn read_script(text: &str, script: &Path, env: &BTreeMap<String, String>) -> Option<Interpreter> {
    if !text.contains(ENTRYPOINT_MODULE) {
        return None;
    }
    let line = text.lines().next()?.strip_prefix("#!")?.trim();
    let (program, flag) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let scripts = script.parent()?.to_owned();
    let (program, flags) = match Path::new(program).file_name()?.to_str()? {
        // A line that is too long for the kernel is replaced by installers with a detour over the shell.
        "sh" => (PathBuf::from(exec_line(text.lines().nth(1)?)?), Vec::new()),
        "env" => (find_program(flag.trim(), env, Path::new("/"), "").ok()?, Vec::new()),
        _ => (
            PathBuf::from(program),
            Some(flag.trim().to_owned()).filter(|flag| !flag.is_empty()).into_iter().collect(),
        ),
    };
    let is_python = program.file_name()?.to_str()?.starts_with("python");
    (is_python && program.is_absolute()).then_some(Interpreter { program, flags, scripts })
}

/// Reads `'''exec' "/a long path/python" "$0" "$@"`.
fn exec_line(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("'''exec' ")?;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split(' ').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(first: &str) -> Option<(String, Vec<String>)> {
        let text = format!("{first}\nimport sys\nfrom flytekit.bin.entrypoint import execute_task_cmd\n");
        let env = [("PATH".to_owned(), "/bin".to_owned())].into();
        let found = read_script(&text, Path::new("/v/bin/pyflyte-execute"), &env)?;
        Some((found.program.to_string_lossy().into_owned(), found.flags))
    }

    #[test]
    fn shebangs_of_all_installers_are_read() {
        assert_eq!(read("#!/v/bin/python"), Some(("/v/bin/python".to_owned(), Vec::new())));
        assert_eq!(
            read("#!/v/bin/python3.11 -sE"),
            Some(("/v/bin/python3.11".to_owned(), vec!["-sE".to_owned()]))
        );
        let detour = "#!/bin/sh\n'''exec' \"/v x/bin/python3\" \"$0\" \"$@\"\n' '''";
        assert_eq!(read(detour), Some(("/v x/bin/python3".to_owned(), Vec::new())));
        assert_eq!(read("#!/bin/bash"), None);
        assert_eq!(read("no shebang"), None);
    }

    #[test]
    fn scripts_of_somebody_else_stay_cold() {
        assert!(
            read_script(
                "#!/v/bin/python\nimport other\n",
                Path::new("/v/bin/pyflyte-execute"),
                &BTreeMap::new()
            )
            .is_none()
        );
        let launch = Launch { program: "/bin/true".into(), ..Launch::default() };
        assert_eq!(Scripts::default().recognise(&launch), None);
    }
}
