//! Receives events: over HTTP, into a file, or on the standard output.

mod file;
mod http;
mod stdout;

use std::sync::Arc;

use reqwest::Client;

use crate::config::{self, Mode, SinkType};
use crate::event::Event;
use crate::failure::Failure;
use crate::guard::Guard;
use crate::pattern;

/// A receiver that is ready.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) name: String,
    settings: config::Sink,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Http(http::Http),
    File(file::File),
    Stdout,
}

impl Sink {
    /// Makes a sink of its settings. Opens nothing.
    ///
    /// # Errors
    /// A key and a sentence about what is wrong.
    pub(crate) fn new(
        name: &str,
        settings: &config::Sink,
        source: &str,
        client: &Client,
        guard: &Guard,
    ) -> Result<Self, String> {
        let target = match settings.r#type {
            None => return Err("type: one of `cloudevents-http`, `file`, `stdout` is needed".to_owned()),
            Some(SinkType::CloudeventsHttp) => {
                Target::Http(http::Http::new(settings, source, client, guard)?)
            }
            Some(SinkType::File) if settings.path.as_os_str().is_empty() => {
                return Err("path: a file is needed".to_owned());
            }
            Some(SinkType::File) => Target::File(file::File::new(settings, source)),
            Some(SinkType::Stdout) => Target::Stdout,
        };
        Ok(Self { name: name.to_owned(), settings: settings.clone(), target })
    }

    /// Whether it asks for this event.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        self.settings.takes(event.kind)
            && pattern::any(&self.settings.projects, &event.project)
            && pattern::any(&self.settings.domains, &event.domain)
    }

    /// How often an event is tried; 0 is for ever.
    pub(crate) fn max_attempts(&self) -> u32 {
        self.settings.max_attempts
    }

    /// How many events it takes at once, in their order.
    pub(crate) fn at_once(&self) -> usize {
        match self.target {
            Target::Http(_) if self.settings.mode != Mode::Batch => 1,
            Target::Http(_) => self.settings.batch_size.max(1) as usize,
            Target::File(_) | Target::Stdout => usize::MAX,
        }
    }

    /// How many executions' events it takes side by side.
    pub(crate) fn lanes(&self) -> usize {
        match self.target {
            Target::Http(_) if self.settings.mode != Mode::Batch => self.settings.concurrency.max(1) as usize,
            Target::Http(_) | Target::File(_) | Target::Stdout => 1,
        }
    }

    /// Where it sends to, for people.
    pub(crate) fn shown(&self) -> String {
        match &self.target {
            Target::Http(http) => http.shown(),
            Target::File(file) => file.shown(),
            Target::Stdout => "stdout".to_owned(),
        }
    }

    /// Hands over events in their order. On success they are safe with the receiver; a failure says nothing about
    /// how many arrived.
    pub(crate) async fn send(&self, events: &[Arc<Event>], source: &str) -> Result<(), Failure> {
        match &self.target {
            Target::Http(http) => http.send(events).await,
            Target::File(file) => file.send(events).await,
            Target::Stdout => stdout::send(events, source).await,
        }
    }
}
