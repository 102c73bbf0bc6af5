//! Finding what this program authorizes itself with in the text of a peer, so that no log or error shows it.
//!
//! A server, or a proxy before it, may repeat a request in its answer. What stands in place of such a text is
//! [`NOT_SHOWN`]; where texts come from, and which are shown at all, is for the clients to say.

/// What stands for text that repeats what we authorized ourselves with.
pub(crate) const NOT_SHOWN: &str = "(not shown: it repeats a secret)";

/// How much of a secret is looked for: a server may cut what it repeats.
const PREFIX: usize = 24;

/// What must not be shown, should a server repeat it.
#[derive(Default)]
pub(crate) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Adds the parts of a token list, of `user:password` (the password) or of a header's value.
    pub(crate) fn add(&mut self, secret: &str) {
        for word in secret.split([' ', ',', '\t', '\n', '\r']) {
            let is_scheme = ["FlyV1", "Bearer", "Basic"]
                .iter()
                .any(|scheme| word.eq_ignore_ascii_case(scheme));
            if !is_scheme {
                self.push(word);
            }
        }
        if let Some((_, password)) = secret.split_once(':') {
            self.push(password);
        }
    }

    /// Adds a parameter of an address, if it is long enough to be a key and not a word.
    pub(crate) fn add_long(&mut self, value: &str) {
        if value.len() >= 12 {
            self.push(value);
        }
    }

    /// `text`, or what stands in its place where it repeats one of them.
    pub(crate) fn hide(&self, text: String) -> String {
        if self.are_in(text.as_bytes()) {
            NOT_SHOWN.to_owned()
        } else {
            text
        }
    }

    fn push(&mut self, secret: &str) {
        let bytes = secret.as_bytes();
        // Shorter ones are in every text, and hiding errors for them would help nobody.
        if bytes.len() >= 4 {
            self.0.push(bytes[..bytes.len().min(PREFIX)].to_vec());
        }
    }

    /// Whether one of them, or its beginning, is in `text`.
    pub(crate) fn are_in(&self, text: &[u8]) -> bool {
        self.0
            .iter()
            .any(|secret| text.windows(secret.len()).any(|window| window == secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_secret_is_found_and_its_scheme_is_not() {
        let mut secrets = Secrets::default();
        secrets.add("FlyV1 fm2_lJPEsecretsecretsecretsecret,fm2_other");
        secrets.add("user:hunter2");
        secrets.add_long("0123456789abcdef");
        secrets.add_long("short");
        let cases = [
            ("", false),
            ("FlyV1 tokens are refused for user", false),
            ("bad macaroon fm2_other", true),
            ("token fm2_lJPEsecretsecretsecr... is bad", true),
            ("password hunter2", true),
            ("?key=0123456789abcdef", true),
            ("short", false),
        ];
        for (text, expected) in cases {
            assert_eq!(secrets.are_in(text.as_bytes()), expected, "{text}");
            let shown = if expected { NOT_SHOWN } else { text };
            assert_eq!(secrets.hide(text.to_owned()), shown);
        }
    }
}
