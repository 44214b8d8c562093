//! Takes secrets out of what receivers say: some repeat the request they refuse, and what they say is logged and shown.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Url;

/// What stands in place of a secret.
const HIDDEN: &str = "***";

/// Shorter texts are no secrets: hiding them would make everything unreadable.
const SHORTEST: usize = 4;

/// Shorter parts of a path are words; tokens are longer.
const SHORTEST_PART: usize = 8;

/// The secrets of one receiver.
#[derive(Clone, Default)]
pub(crate) struct Mask(Vec<String>);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({})", self.0.len())
    }
}

impl Mask {
    /// Hides this, and what it is on the wire in base64.
    pub(crate) fn add(&mut self, secret: &str) {
        if secret.len() < SHORTEST {
            return;
        }
        self.0.extend([secret.to_owned(), STANDARD.encode(secret)]);
        // The longest first: one may hold another.
        self.0.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.0.dedup();
    }

    /// Hides the value of a header, and what follows a word such as `Bearer`.
    pub(crate) fn add_header(&mut self, value: &str) {
        self.add(value);
        if let Some((_, token)) = value.split_once(' ') {
            self.add(token.trim());
        }
    }

    /// Hides who calls, and what may be a token in the path or behind it.
    pub(crate) fn add_url(&mut self, url: &Url) {
        let (user, password) = (url.username(), url.password().unwrap_or_default());
        if !password.is_empty() {
            self.add(password);
            self.add(&format!("{user}:{password}"));
        }
        self.add(url.path());
        for part in url.path_segments().into_iter().flatten().filter(|part| part.len() >= SHORTEST_PART) {
            self.add(part);
        }
        if let Some(query) = url.query() {
            self.add(query);
        }
        for (_, value) in url.query_pairs() {
            self.add(&value);
        }
    }

    /// Hides what a mail server is told to let us in.
    pub(crate) fn add_login(&mut self, user: &str, password: &str) {
        self.add(password);
        if !password.is_empty() {
            self.add(&format!("\0{user}\0{password}"));
        }
    }

    /// The text without any of them.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_in_clear_and_in_base64_and_the_rest_stays() {
        let mut mask = Mask::default();
        mask.add_url(
            &Url::parse("https://ann:pa55word@x.example/services/T0KEN123/x?key=q-secret&n=1").unwrap(),
        );
        mask.add_header("Bearer b-secret");
        mask.add_login("ann", "mail-secret");
        let wire = [STANDARD.encode("ann:pa55word"), STANDARD.encode("\0ann\0mail-secret")].join(" ");
        let said =
            format!("no /services/T0KEN123/x?key=q-secret&n=1 for b-secret, pa55word, mail-secret {wire}");
        assert_eq!(mask.hide(&said), "no ***?*** for ***, ***, *** *** ***");
        assert_eq!(mask.hide("invalid_payload"), "invalid_payload");
        assert!(!format!("{mask:?}").contains("secret"));
    }

    #[test]
    fn a_secret_within_another_leaves_nothing_of_either() {
        let mut mask = Mask::default();
        mask.add("abcd");
        mask.add("xabcdy");
        assert_eq!(mask.hide("xabcdy abcd"), "*** ***");
        mask.add("n");
        assert_eq!(mask.hide("no"), "no", "one letter is no secret");
    }
}
