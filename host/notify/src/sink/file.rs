//! Appends events as lines of JSON to a file, and puts it aside when it is full.
//!
//! Lines count as written once they are on the disk. What a crash left of a line at the end is cut off; that event
//! comes again.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{self, Encoding};
use crate::event::Event;
use crate::failure::Failure;

/// Bytes looked at at once in the search for the last whole line.
const STEP: u64 = 64 * 1024;

/// A file of events.
#[derive(Debug)]
pub(super) struct File {
    shared: Arc<Shared>,
    source: String,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    max_size: u64,
    keep: u32,
    /// Open from the first event on. Taken by writers one after the other.
    open: Mutex<Option<fs::File>>,
}

impl File {
    pub(super) fn new(settings: &config::Sink, source: &str) -> Self {
        let shared = Shared {
            path: settings.path.clone(),
            max_size: settings.max_size.bytes(),
            keep: settings.keep,
            open: Mutex::new(None),
        };
        Self { shared: Arc::new(shared), source: source.to_owned() }
    }

    pub(super) fn shown(&self) -> String {
        self.shared.path.display().to_string()
    }

    pub(super) async fn send(&self, events: &[Arc<Event>]) -> Result<(), Failure> {
        let lines: Vec<String> = events
            .iter()
            .map(|event| format!("{}\n", event.structured(&self.source, Encoding::Json)))
            .collect();
        let shared = Arc::clone(&self.shared);
        let written = tokio::task::spawn_blocking(move || shared.append(&lines)).await;
        let failed = |error: &dyn std::fmt::Display| {
            Failure::passing(format!("cannot write {}: {error}", self.shared.path.display()))
        };
        written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

impl Shared {
    fn append(&self, lines: &[String]) -> io::Result<()> {
        let mut slot = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = match slot.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        for line in lines {
            let size = file.stream_position()?;
            if self.max_size > 0 && size > 0 && size + line.len() as u64 > self.max_size {
                file.sync_data()?;
                self.put_aside()?;
                file = open(&self.path)?;
            }
            file.write_all(line.as_bytes())?;
        }
        file.sync_data()?;
        // After an error it stays closed: the next try cuts off what was written in part.
        *slot = Some(file);
        Ok(())
    }

    /// `<path>` becomes `<path>.1`, that `<path>.2` and so on; the oldest is removed.
    fn put_aside(&self) -> io::Result<()> {
        let nth = |n: u32| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{n}"));
            PathBuf::from(path)
        };
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for n in (1..self.keep).rev() {
            if nth(n).exists() {
                fs::rename(nth(n), nth(n + 1))?;
            }
        }
        fs::rename(&self.path, nth(1))
    }
}

/// Opens a file behind its last whole line.
fn open(path: &Path) -> io::Result<fs::File> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    let end = whole_lines(&mut file)?;
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(file)
}

/// Where the last whole line of a file ends.
fn whole_lines(file: &mut fs::File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut bytes)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::core::workflow_execution::Phase;

    use super::*;
    use crate::event::tests::workflow;

    fn names(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let name = |line: &str| {
            let document: serde_json::Value = serde_json::from_str(line).unwrap();
            document["subject"].as_str().unwrap().trim_start_matches("p/d/").to_owned()
        };
        text.lines().map(name).collect()
    }

    async fn send(file: &File, names: &[&str]) {
        let events: Vec<_> = names.iter().map(|name| Arc::new(workflow(name, Phase::Running, 1))).collect();
        file.send(&events).await.unwrap();
    }

    #[tokio::test]
    async fn lines_are_appended_after_a_restart_and_torn_ones_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/events.jsonl");
        let settings = config::Sink { path: path.clone(), ..config::Sink::default() };
        send(&File::new(&settings, "s"), &["a", "b"]).await;
        let torn = fs::read_to_string(&path).unwrap() + &"{\"torn\": ".repeat(20_000);
        fs::write(&path, torn).unwrap();
        send(&File::new(&settings, "s"), &["c"]).await;
        assert_eq!(names(&path), ["a", "b", "c"]);
        fs::write(&path, "no line at all").unwrap();
        send(&File::new(&settings, "s"), &["d"]).await;
        assert_eq!(names(&path), ["d"]);
    }

    #[tokio::test]
    async fn a_full_file_is_put_aside_and_the_oldest_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let settings = config::Sink {
            path: path.clone(),
            max_size: "700".parse().unwrap(),
            keep: 2,
            ..config::Sink::default()
        };
        let file = File::new(&settings, "s");
        send(&file, &["a"]).await;
        send(&file, &["b", "c", "d"]).await;
        assert_eq!(names(&path), ["d"]);
        assert_eq!(names(&dir.path().join("events.jsonl.1")), ["c"]);
        assert_eq!(names(&dir.path().join("events.jsonl.2")), ["b"]);
        assert!(!dir.path().join("events.jsonl.3").exists());
    }
}
