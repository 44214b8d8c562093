//! Writes the texts of messages from templates (Jinja). A template that cannot work is found at the start.

use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use proto::flyteidl::core::workflow_execution::Phase;

use crate::facts::Facts;

/// The subject when a channel has none of its own.
const SUBJECT: &str = "{{ title }} {{ outcome }} in {{ project }}/{{ domain }} ({{ name }})";

/// The text when a channel has none of its own.
const BODY: &str = "\
Execution {{ name }} of {{ title }} {{ outcome }} in {{ project }}/{{ domain }}.
{% if error %}
{{ error.kind }} error {{ error.code }}:
{{ error.message }}
{% endif %}{% if aborted %}
Aborted{% if aborted_by %} by {{ aborted_by }}{% endif %}{% if cause %}: {{ cause }}{% endif %}
{% endif %}
{% if launch_plan %}Launch plan  {{ launch_plan.name }} {{ launch_plan.version }}
{% endif %}{% if workflow %}Workflow     {{ workflow.name }} {{ workflow.version }}
{% endif %}{% if started_at %}Started      {{ started_at }}
{% endif %}Ended        {{ ended_at }}
Duration     {{ duration }}
{% if url %}Look         {{ url }}
{% endif %}";

/// The text in Slack.
const SLACK: &str = "\
{% if succeeded %}:white_check_mark:{% elif aborted %}:no_entry_sign:{% else %}:x:{% endif %} *{{ title }}* {{ outcome }} \
in {{ project }}/{{ domain }} after {{ duration }}: {% if url %}<{{ url }}|{{ name }}>{% else %}{{ name }}{% endif %}
{% if error %}```{{ error.code }}: {{ error.message | truncate }}```{% endif %}\
{% if aborted and cause %}> {{ cause | truncate }}{% endif %}";

/// Most characters that `truncate` leaves.
const TRUNCATED: usize = 1500;

/// What a text is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Plain,
    /// For Slack: `&`, `<` and `>` of values are escaped, so that no value can mention a channel.
    Slack,
    /// Must be a JSON document.
    Json,
}

/// The templates of a channel.
#[derive(Debug)]
pub(crate) struct Templates {
    environment: Environment<'static>,
    form: Form,
}

impl Templates {
    /// Reads a subject and a body; an empty one is the default.
    ///
    /// # Errors
    /// `subject` or `body`, the line, and what is wrong.
    pub(crate) fn read(subject: &str, body: &str, form: Form) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(move |_| match form {
            Form::Slack => AutoEscape::Custom("slack"),
            Form::Plain | Form::Json => AutoEscape::None,
        });
        environment.set_formatter(format);
        environment.add_filter("truncate", truncate);
        let subject = if subject.is_empty() { SUBJECT } else { subject };
        let default = if form == Form::Slack { SLACK } else { BODY };
        let body = if body.is_empty() { default } else { body };
        for (name, text) in [("subject", subject), ("body", body)] {
            environment.add_template_owned(name, text.to_owned()).map_err(|error| describe(name, &error))?;
        }
        let templates = Self { environment, form };
        // Names that no execution has, and documents that are none, show in a rehearsal.
        for phase in [Phase::Succeeded, Phase::Failed, Phase::Aborted] {
            let facts = Facts::sample(phase);
            templates.subject(&facts)?;
            templates.body(&facts)?;
        }
        Ok(templates)
    }

    /// The subject, in one line.
    pub(crate) fn subject(&self, facts: &Facts) -> Result<String, String> {
        let text = self.render("subject", facts)?;
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The text.
    pub(crate) fn body(&self, facts: &Facts) -> Result<String, String> {
        let text = self.render("body", facts)?;
        if self.form == Form::Json {
            let checked: Result<serde_json::Value, _> = serde_json::from_str(&text);
            checked.map_err(|error| {
                format!("body: what it writes is not JSON: {error}; use `| tojson` for values")
            })?;
        }
        Ok(text)
    }

    fn render(&self, name: &str, facts: &Facts) -> Result<String, String> {
        let template = self.environment.get_template(name).map_err(|error| describe(name, &error))?;
        template.render(facts).map_err(|error| describe(name, &error))
    }
}

fn describe(name: &str, error: &Error) -> String {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{name}: {line}{}{detail}", error.kind())
}

fn truncate(text: String) -> String {
    match text.char_indices().nth(TRUNCATED) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

fn format(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    if state.auto_escape() != AutoEscape::Custom("slack") || value.is_safe() {
        return minijinja::escape_formatter(out, state, value);
    }
    let text = value.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    out.write_str(&text).map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_say_what_ended_how_and_where_to_look() {
        let templates = Templates::read("", "", Form::Plain).unwrap();
        let facts = Facts { url: "http://here/x".to_owned(), ..Facts::sample(Phase::Failed) };
        assert_eq!(
            templates.subject(&facts).unwrap(),
            "a.test failed in flytesnacks/development (atestofthischannel)"
        );
        let body = templates.body(&facts).unwrap();
        for part in
            ["nothing failed: this is a test", "USER error Test", "1m 05s", "http://here/x", "a.test v1"]
        {
            assert!(body.contains(part), "{part} is not in\n{body}");
        }
        let aborted = Facts {
            cause: "too dear".to_owned(),
            aborted_by: "ann".to_owned(),
            ..Facts::sample(Phase::Aborted)
        };
        assert!(templates.body(&aborted).unwrap().contains("Aborted by ann: too dear"));
    }

    #[test]
    fn a_bad_template_is_found_with_its_line() {
        for (body, form, want) in [
            ("a\nb {{ name", Form::Plain, "body: line 2: syntax error"),
            ("a\n\n{{ nmae }}", Form::Plain, "body: line 3: undefined value"),
            ("{{ error.mesage }}", Form::Plain, "body: line 1: undefined value"),
            ("{{ name | shout }}", Form::Plain, "body: line 1: unknown filter"),
            ("{\"a\": {{ name }}}", Form::Json, "not JSON"),
        ] {
            let error = Templates::read("", body, form).unwrap_err();
            assert!(error.contains(want), "{body}: {error}");
        }
        assert!(Templates::read("{% if %}", "", Form::Plain).unwrap_err().starts_with("subject: line 1"));
        assert!(Templates::read("", "{\"a\": {{ name | tojson }}}", Form::Json).is_ok());
    }

    #[test]
    fn values_cannot_mention_anyone_in_slack() {
        let templates = Templates::read("", "", Form::Slack).unwrap();
        let mut facts = Facts::sample(Phase::Failed);
        facts.error.as_mut().unwrap().message = "<!channel> & co".to_owned();
        facts.url = "http://here".to_owned();
        let body = templates.body(&facts).unwrap();
        assert!(body.contains("&lt;!channel&gt; &amp; co") && body.contains("<http://here|"), "{body}");
        facts.error.as_mut().unwrap().message = "x".repeat(10_000);
        assert!(templates.body(&facts).unwrap().len() < 3_000);
    }

    #[test]
    fn a_subject_is_one_line() {
        let templates = Templates::read("{{ title }}\r\nBcc: x", "", Form::Plain).unwrap();
        assert_eq!(templates.subject(&Facts::sample(Phase::Failed)).unwrap(), "a.test Bcc: x");
    }
}
