//! Writes log lines: text for people on a terminal, JSON of logrus' shape otherwise.

use std::fmt;
use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::{Config, Error};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Installs the logger of this process; lines go to standard error.
///
/// # Errors
/// A level that can't be read, or a second call.
pub fn install(config: &Config) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|error| Error::Level { level: config.level.clone(), reason: error.to_string() })?;
    let on_terminal = std::io::stderr().is_terminal();
    let as_text = match config.format {
        Format::Text => true,
        Format::Json => false,
        Format::Auto => on_terminal,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = if as_text {
        builder.with_ansi(on_terminal).with_target(true).try_init()
    } else {
        builder.event_format(Json).fmt_fields(JsonFields::new()).try_init()
    };
    result.map_err(|_| Error::Twice)
}

/// `{"json":{fields..,"src":"file:line"},"level":"info","msg":"...","ts":"RFC3339"}`, with the fields of the spans
/// around the event, which [`JsonFields`] keeps as JSON.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(formatted) = span.extensions().get::<FormattedFields<N>>()
                && let Ok(inherited) = serde_json::from_str::<Map<String, Value>>(&formatted.fields)
            {
                fields.map.extend(inherited);
            }
        }
        event.record(&mut fields);
        writeln!(writer, "{}", line(event, fields))
    }
}

fn line(event: &Event<'_>, fields: Fields) -> Value {
    let metadata = event.metadata();
    let mut json = fields.map;
    if let (Some(file), Some(number)) = (metadata.file(), metadata.line()) {
        json.insert("src".into(), format!("{file}:{number}").into());
    }
    json.insert("target".into(), metadata.target().into());
    serde_json::json!({
        "json": json,
        "level": metadata.level().as_str().to_lowercase(),
        "msg": fields.message,
        "ts": jiff::Timestamp::now().to_string(),
    })
}

#[derive(Default)]
struct Fields {
    message: String,
    map: Map<String, Value>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.map.insert(field.name().to_owned(), text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.map.insert(field.name().to_owned(), value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.map.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.map.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.map.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.map.insert(field.name().to_owned(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.map.insert(field.name().to_owned(), chain(value).into());
    }
}

/// An error with all its causes, `outer: inner: innermost`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(body: impl FnOnce()) -> Value {
        let sink = Sink::default();
        let writer = sink.clone();
        let builder = tracing_subscriber::fmt().event_format(Json).fmt_fields(JsonFields::new());
        let subscriber = builder.with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, body);
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_line_is_one_json_object_of_logrus_shape() {
        let value = logged(|| tracing::warn!(exec_id = "e1", n = 3, "something\nhappened"));
        assert_eq!(value["level"], "warn");
        assert_eq!(value["msg"], "something\nhappened");
        assert_eq!(value["json"]["exec_id"], "e1");
        assert_eq!(value["json"]["n"], 3);
        assert!(value["json"]["src"].as_str().unwrap().contains("log.rs:"));
    }

    #[test]
    fn a_line_carries_the_fields_of_its_spans() {
        let value = logged(|| {
            let outer = tracing::info_span!("execution", exec_id = "e1", node = tracing::field::Empty);
            outer.record("node", "n0");
            let _outer = outer.entered();
            let _inner = tracing::info_span!("attempt", node = "n1", retry_attempt = 2).entered();
            tracing::info!(retry_attempt = 3, "begun");
        });
        let fields = &value["json"];
        assert_eq!(
            (&fields["exec_id"], &fields["node"]),
            (&"e1".into(), &"n1".into()),
            "the inner span wins"
        );
        assert_eq!(fields["retry_attempt"], 3, "the event wins");
    }

    #[test]
    fn a_secret_is_masked_in_fields_and_spans() {
        let secret = config::Secret::new("canary");
        let value = logged(|| {
            let _span = tracing::info_span!("s", outer = ?secret).entered();
            tracing::info!(?secret, "key {secret:?}");
        });
        assert!(!value.to_string().contains("canary"), "{value}");
    }

    #[test]
    fn an_error_is_logged_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read a")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk on fire"));
        let value = logged(|| tracing::error!(error = &error as &dyn std::error::Error, "failed"));
        assert_eq!(value["json"]["error"], "cannot read a: disk on fire");
    }
}
