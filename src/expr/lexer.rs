//! Cuts an expression's text into tokens exactly where Expr 1.16 does.
//!
//! The cuts matter: `1..5` is a range, `5.` a float, `q ?.5 : 1` begins a member access. What Expr's lexer refuses is
//! refused here, at the same character; so is `#`, which only closures use. Which words and signs mean anything together
//! is the parser's business.

use super::diagnostic::{CompileError, Span};

/// What kind of token a stretch of text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// An identifier, `true`, `false` and `nil` among them.
    Name,
    /// A number as written; the parser finds its value.
    Number,
    /// A string with its value, escapes resolved.
    Text(String),
    /// A sign, or one of the words `not in or and let matches contains startsWith endsWith`.
    Operator,
    /// One of `()[]{}`.
    Bracket,
    /// The end of the text.
    End,
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

/// The tokens of `source`; the last one, and only that, is [`TokenKind::End`].
pub(super) fn lex(source: &str) -> Result<Vec<Token>, CompileError> {
    let mut lexer = Lexer {
        source,
        at: 0,
        line_comments: Vec::new(),
    };
    lexer.all()
}

/// What stands behind each `//` of `source`, as far as its tokens can be read.
pub(super) fn line_comments(source: &str) -> Vec<&str> {
    let mut lexer = Lexer {
        source,
        at: 0,
        line_comments: Vec::new(),
    };
    // What cannot be read is told by whoever reads the tokens.
    let _ = lexer.all();
    lexer.line_comments
}

/// Whether a character may stand in an identifier.
fn is_word(character: char) -> bool {
    character == '_' || character == '$' || character.is_alphanumeric()
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line_comments: Vec<&'s str>,
}

impl Lexer<'_> {
    fn all(&mut self) -> Result<Vec<Token>, CompileError> {
        let mut tokens = Vec::new();
        loop {
            let token = self.token()?;
            let end = token.kind == TokenKind::End;
            tokens.push(token);
            if end {
                return Ok(tokens);
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn accept(&mut self, any_of: &str) -> bool {
        let found = self
            .peek()
            .is_some_and(|character| any_of.contains(character));
        if found {
            self.next();
        }
        found
    }

    fn accept_run(&mut self, any_of: &str) {
        while self.accept(any_of) {}
    }

    fn refuse<T>(&self, start: usize, message: impl Into<String>) -> Result<T, CompileError> {
        Err(CompileError::new(
            self.source,
            Span {
                start,
                end: self.at,
            },
            message,
        ))
    }

    fn token(&mut self) -> Result<Token, CompileError> {
        self.skip_blanks()?;
        let start = self.at;
        let Some(character) = self.next() else {
            return Ok(Token {
                kind: TokenKind::End,
                span: Span { start, end: start },
            });
        };
        let kind = match character {
            '\'' | '"' => TokenKind::Text(self.string(start, character)?),
            '`' => TokenKind::Text(self.raw_string(start)?),
            '0'..='9' => {
                self.at = start;
                self.number(start)?
            }
            '.' if self.peek().is_some_and(|next| next.is_ascii_digit()) => self.number(start)?,
            '.' => {
                self.accept(".");
                TokenKind::Operator
            }
            '?' => {
                self.accept(".?");
                TokenKind::Operator
            }
            '|' | ':' => {
                self.accept(if character == '|' { "|" } else { ":" });
                TokenKind::Operator
            }
            '(' | ')' | '[' | ']' | '{' | '}' => TokenKind::Bracket,
            ',' | ';' | '%' | '+' | '-' | '^' | '/' => TokenKind::Operator,
            '&' | '!' | '=' | '*' | '<' | '>' => {
                self.accept("&=*");
                TokenKind::Operator
            }
            '#' => {
                return self.refuse(
                    start,
                    "`#` stands for the element in a closure, and closures are not supported; a comment is `// …` or \
                     `/* … */`",
                );
            }
            character if is_word(character) => {
                while self.peek().is_some_and(is_word) {
                    self.next();
                }
                match &self.source[start..self.at] {
                    "not" | "in" | "or" | "and" | "matches" | "contains" | "startsWith"
                    | "endsWith" | "let" => TokenKind::Operator,
                    _ => TokenKind::Name,
                }
            }
            other => {
                let code = u32::from(other);
                let hint = look_alike(other)
                    .map_or_else(String::new, |sign| format!("; did you mean `{sign}`?"));
                return self.refuse(start, format!("unexpected character U+{code:04X}{hint}"));
            }
        };
        Ok(Token {
            kind,
            span: Span {
                start,
                end: self.at,
            },
        })
    }

    fn skip_blanks(&mut self) -> Result<(), CompileError> {
        loop {
            let rest = &self.source[self.at..];
            if let Some(comment) = rest.strip_prefix("//") {
                let length = comment.find('\n').unwrap_or(comment.len());
                self.line_comments.push(&comment[..length]);
                self.at += 2 + length;
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let Some(length) = comment.find("*/") else {
                    let start = self.at;
                    self.at += 2;
                    return self.refuse(start, "this comment is not closed; expected `*/`");
                };
                self.at += length + 4;
            } else if rest.starts_with(char::is_whitespace) {
                self.next();
            } else {
                return Ok(());
            }
        }
    }

    /// The rest of the number that began at `start`, where a leading point has been read already.
    fn number(&mut self, start: usize) -> Result<TokenKind, CompileError> {
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        let before_point = self.at;
        if self.accept(".") {
            if self.peek() == Some('.') {
                // `1..5`: the points are the range operator.
                self.at = before_point;
                return Ok(TokenKind::Number);
            }
            self.accept_run(digits);
        }
        if self.accept("eE") {
            self.accept("+-");
            self.accept_run(digits);
        }
        if self.peek().is_some_and(is_word) {
            while self.peek().is_some_and(is_word) {
                self.next();
            }
            let text = &self.source[start..self.at];
            return self.refuse(start, format!("`{text}` is neither a number nor a name"));
        }
        Ok(TokenKind::Number)
    }

    fn string(&mut self, start: usize, quote: char) -> Result<String, CompileError> {
        let mut value = String::new();
        loop {
            let escape = self.at;
            match self.next() {
                None | Some('\n') => {
                    self.at = start + 1;
                    return self.refuse(
                        start,
                        format!("this string is not closed; expected `{quote}`"),
                    );
                }
                Some(character) if character == quote => return Ok(value),
                Some('\\') => {
                    let Some(character) = self.escape(quote) else {
                        self.next();
                        return self.refuse(escape, "unknown escape in a string");
                    };
                    value.push(character);
                }
                // Expr normalizes newlines; a line feed cannot stand in a string, so a carriage return stands alone.
                Some('\r') => value.push('\n'),
                Some(character) => value.push(character),
            }
        }
    }

    fn escape(&mut self, quote: char) -> Option<char> {
        let rest = &self.source[self.at..];
        let first = rest.chars().next()?;
        let (radix, from, length) = match first {
            '0'..='3' => (8, 0, 3),
            'x' => (16, 1, 2),
            'u' => (16, 1, 4),
            'U' => (16, 1, 8),
            _ => {
                let value = match first {
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\u{b}',
                    '\\' => '\\',
                    other if other == quote => other,
                    _ => return None,
                };
                self.next();
                return Some(value);
            }
        };
        let digits = rest.get(from..from + length)?;
        if !digits.chars().all(|digit| digit.is_digit(radix)) {
            return None;
        }
        let code = u32::from_str_radix(digits, radix)
            .ok()
            .filter(|code| *code <= u32::from(char::MAX))?;
        self.at += from + length;
        // Go writes half a surrogate pair as the replacement character.
        Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn raw_string(&mut self, start: usize) -> Result<String, CompileError> {
        let Some(length) = self.source[self.at..].find('`') else {
            return self.refuse(start, "this string is not closed; expected a backtick");
        };
        let value = self.source[self.at..self.at + length].to_owned();
        self.at += length + 1;
        Ok(value)
    }
}

/// The sign that a character from a word processor was meant to be.
fn look_alike(character: char) -> Option<&'static str> {
    Some(match character {
        '\u{2212}' | '\u{2013}' | '\u{2014}' => "-",
        '×' | '·' | '∙' => "*",
        '÷' | '∕' => "/",
        '≤' => "<=",
        '≥' => ">=",
        '≠' => "!=",
        '∧' => "and",
        '∨' => "or",
        '¬' => "not",
        '‘' | '’' => "'",
        '“' | '”' | '„' => "\"",
        '…' => "..",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(source: &str) -> Vec<&str> {
        let tokens = lex(source).expect("the text can be cut");
        tokens[..tokens.len() - 1]
            .iter()
            .map(|token| &source[token.span.start..token.span.end])
            .collect()
    }

    #[test]
    fn numbers_end_where_expr_ends_them() {
        for (source, expected) in [
            ("1..5", &["1", "..", "5"][..]),
            ("1...5", &["1", "..", ".5"]),
            ("1.5.5", &["1.5", ".5"]),
            ("5.", &["5."]),
            (".5", &[".5"]),
            ("1.e3", &["1.e3"]),
            ("1__0", &["1__0"]),
            ("1_", &["1_"]),
            ("0x", &["0x"]),
            ("0x1e+3", &["0x1e", "+", "3"]),
            ("1e+3+4", &["1e+3", "+", "4"]),
            ("0b101.1", &["0b101.1"]),
        ] {
            assert_eq!(cut(source), expected, "{source}");
        }
    }

    #[test]
    fn signs_are_cut_as_expr_cuts_them() {
        for (source, expected) in [
            ("--3", &["-", "-", "3"][..]),
            ("2**-1", &["2", "**", "-", "1"]),
            ("a<=-b", &["a", "<=", "-", "b"]),
            ("q ?.5 : 1", &["q", "?.", "5", ":", "1"]),
            ("a?b::c", &["a", "?", "b", "::", "c"]),
            ("!*", &["!*"]),
            ("1===1", &["1", "==", "=", "1"]),
            ("not in_var", &["not", "in_var"]),
            ("a /* b **/ c // d", &["a", "c"]),
            ("$env früh ٣x", &["$env", "früh", "٣x"]),
        ] {
            assert_eq!(cut(source), expected, "{source}");
        }
    }

    #[test]
    fn strings_have_the_value_that_expr_gives_them() {
        for (source, expected) in [
            (r#""a\n\t\"\\""#, "a\n\t\"\\"),
            (r"'\''", "'"),
            (r#""\xC3\u263A\U000003A8\101""#, "Ã☺ΨA"),
            ("'a\rb'", "a\nb"),
            ("`a\\n\nb`", "a\\n\nb"),
            (r"'\uD800'", "\u{FFFD}"),
        ] {
            let tokens = lex(source).expect("the text can be cut");
            assert_eq!(
                tokens[0].kind,
                TokenKind::Text(expected.to_owned()),
                "{source}"
            );
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        for (source, message, column) in [
            ("3q + 1", "`3q` is neither a number nor a name", 1),
            ("1 + .5x", "`.5x` is neither a number nor a name", 5),
            ("5.Foo", "`5.Foo` is neither a number nor a name", 1),
            ("'abc", "this string is not closed; expected `'`", 1),
            ("1 + 'a\nb'", "this string is not closed; expected `'`", 5),
            ("`abc", "this string is not closed; expected a backtick", 1),
            (r"'a\qb'", "unknown escape in a string", 3),
            (r#"'a\"b'"#, "unknown escape in a string", 3),
            (r"'\400'", "unknown escape in a string", 2),
            ("3 /* c", "this comment is not closed; expected `*/`", 3),
            ("1 − 2", "unexpected character U+2212; did you mean `-`?", 3),
            ("1 @ 2", "unexpected character U+0040", 3),
        ] {
            let error = lex(source).expect_err(source);
            assert_eq!(
                (error.message(), error.column()),
                (message, column),
                "{source}"
            );
        }
    }
}
