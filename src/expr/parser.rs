//! Reads tokens into a syntax tree, with Expr 1.16's precedence.
//!
//! From loose to tight: `?:`, `|`, `or`, `and`, comparisons and `in`, `..`, `+ -`, unary `not`, `* / %`, unary `- +`,
//! `**`, `??`. Constructs of Expr that have no place here (closures, maps, string operators) are refused by name, and so is
//! a `not` that Expr's own parser would silently lose. Names and types are not looked at. Recursion is bounded by
//! [`MAX_DEPTH`], whatever the text.

use super::{
    Names,
    diagnostic::{CompileError, Span},
    lexer::{Token, TokenKind, lex},
    number,
    syntax::{Binary, Syntax, SyntaxKind, Unary},
};

/// The deepest nesting accepted, of brackets as of operators: far beyond what a person writes, and a small part of the
/// smallest stack (2 MiB) that a pass runs on.
pub(super) const MAX_DEPTH: usize = 100;

/// The syntax tree of `source`. A function whose name is also a metric's is the metric, unless written `::name(…)`.
pub(super) fn parse(source: &str, names: &Names) -> Result<Syntax, CompileError> {
    let tokens = lex(source)?;
    let mut parser = Parser {
        source,
        names,
        tokens,
        position: 0,
        depth: 0,
    };
    if parser.current().kind == TokenKind::End {
        return parser.refuse(parser.current().span, "the expression is empty");
    }
    let tree = parser.expression(0)?;
    if parser.current().kind != TokenKind::End {
        return parser.unexpected("an operator or the end");
    }
    Ok(tree)
}

/// Precedence of unary `not`.
const NOT: u16 = 50;
/// Precedence of unary `-` and `+`.
const SIGN: u16 = 90;
/// Precedence of the comparisons and `in`.
const COMPARISON: u16 = 20;

/// An infix operator's precedence, and what it is; `None` for the pipe.
fn infix(sign: &str) -> Option<(u16, Option<Binary>)> {
    let (precedence, operator) = match sign {
        "|" => return Some((0, None)),
        "or" | "||" => (10, Binary::Or),
        "and" | "&&" => (15, Binary::And),
        "==" => (COMPARISON, Binary::Equal),
        "!=" => (COMPARISON, Binary::NotEqual),
        "<" => (COMPARISON, Binary::Less),
        ">" => (COMPARISON, Binary::Greater),
        "<=" => (COMPARISON, Binary::LessOrEqual),
        ">=" => (COMPARISON, Binary::GreaterOrEqual),
        "in" => (COMPARISON, Binary::In),
        ".." => (25, Binary::Range),
        "+" => (30, Binary::Add),
        "-" => (30, Binary::Subtract),
        "*" => (60, Binary::Multiply),
        "/" => (60, Binary::Divide),
        "%" => (60, Binary::Remainder),
        "**" | "^" => (100, Binary::Power),
        "??" => (500, Binary::Coalesce),
        _ => return None,
    };
    Some((precedence, Some(operator)))
}

fn is_string_operator(sign: &str) -> bool {
    matches!(sign, "matches" | "contains" | "startsWith" | "endsWith")
}

/// Functions that take a closure, whose arguments are not expressions.
fn takes_closure(name: &str) -> bool {
    matches!(
        name,
        "all"
            | "none"
            | "any"
            | "one"
            | "filter"
            | "map"
            | "count"
            | "find"
            | "findIndex"
            | "findLast"
            | "findLastIndex"
            | "groupBy"
            | "reduce"
    )
}

struct Parser<'s> {
    source: &'s str,
    names: &'s Names,
    tokens: Vec<Token>,
    position: usize,
    depth: usize,
}

impl<'s> Parser<'s> {
    fn current(&self) -> &Token {
        // The last token is the end, and `advance` does not pass it.
        &self.tokens[self.position.min(self.tokens.len() - 1)]
    }

    fn following(&self) -> &Token {
        &self.tokens[(self.position + 1).min(self.tokens.len() - 1)]
    }

    fn text(&self, token: &Token) -> &'s str {
        &self.source[token.span.start..token.span.end]
    }

    fn advance(&mut self) -> Span {
        let span = self.current().span;
        self.position = (self.position + 1).min(self.tokens.len() - 1);
        span
    }

    /// Whether the current token is this operator or bracket.
    fn at(&self, sign: &str) -> bool {
        let token = self.current();
        matches!(token.kind, TokenKind::Operator | TokenKind::Bracket) && self.text(token) == sign
    }

    fn expect(&mut self, sign: &str, expected: &str) -> Result<Span, CompileError> {
        if self.at(sign) {
            Ok(self.advance())
        } else {
            self.unexpected(expected)
        }
    }

    fn expect_name(&mut self, expected: &str) -> Result<(String, Span), CompileError> {
        if self.current().kind != TokenKind::Name {
            return self.unexpected(expected);
        }
        let name = self.text(self.current()).to_owned();
        Ok((name, self.advance()))
    }

    fn refuse<T>(&self, span: Span, message: impl Into<String>) -> Result<T, CompileError> {
        Err(CompileError::new(self.source, span, message))
    }

    fn unexpected<T>(&self, expected: &str) -> Result<T, CompileError> {
        let token = self.current();
        let text = self.text(token);
        let found = match token.kind {
            TokenKind::End => "the expression ends here".to_owned(),
            TokenKind::Name | TokenKind::Number => format!("unexpected `{text}`"),
            TokenKind::Text(_) => "unexpected string".to_owned(),
            TokenKind::Operator | TokenKind::Bracket => format!("unexpected `{text}`"),
        };
        let before = self
            .position
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at));
        let hint = match text {
            _ if before.is_some_and(|token| self.text(token) == "if") => {
                "; `if` is not part of the language: write `condition ? then : otherwise`"
            }
            "=" => "; equality is `==`",
            "!*" | "!&" | "<&" | "<*" | ">&" | ">*" | "=&" | "=*" => {
                "; put a space between the two signs"
            }
            "<>" => "; inequality is `!=`",
            "&" | "&*" | "&=" => "; use `and`, or `&&`",
            "?." => "; put a space after the `?`",
            "{" => "; maps are not supported",
            _ => "",
        };
        self.refuse(token.span, format!("{found}; expected {expected}{hint}"))
    }

    fn node(&self, kind: SyntaxKind, span: Span, below: usize) -> Result<Syntax, CompileError> {
        if below >= MAX_DEPTH {
            return self.too_deep(span);
        }
        Ok(Syntax {
            kind,
            span,
            height: below + 1,
        })
    }

    fn too_deep<T>(&self, span: Span) -> Result<T, CompileError> {
        self.refuse(
            span,
            format!("the expression is nested too deeply; at most {MAX_DEPTH} levels are accepted"),
        )
    }

    fn expression(&mut self, minimum: u16) -> Result<Syntax, CompileError> {
        if self.depth >= MAX_DEPTH {
            return self.too_deep(self.current().span);
        }
        self.depth += 1;
        let result = if minimum == 0 && self.at("let") {
            self.declaration()
        } else {
            self.operations(minimum)
        };
        self.depth -= 1;
        result
    }

    fn operations(&mut self, minimum: u16) -> Result<Syntax, CompileError> {
        let mut left = self.primary()?;
        let mut after_coalesce = false;
        while self.current().kind == TokenKind::Operator {
            let negated = self.infix_not(minimum)?;
            let sign = self.text(self.current());
            if is_string_operator(sign) {
                return self.refuse(
                    self.current().span,
                    format!("the string operator `{sign}` is not supported"),
                );
            }
            let Some((precedence, operator)) =
                infix(sign).filter(|(precedence, _)| *precedence >= minimum)
            else {
                break;
            };
            let span = self.advance();
            let Some(operator) = operator else {
                let (name, span) = self.expect_name("a function after `|`")?;
                left = self.call(name, span, vec![left], true)?;
                after_coalesce = false;
                continue;
            };
            if after_coalesce && operator != Binary::Coalesce {
                return self.refuse(
                    span,
                    format!(
                        "`{sign}` cannot follow a `??` expression; put parentheses around `… ?? …`"
                    ),
                );
            }
            let right = self.expression(if operator == Binary::Power {
                precedence
            } else {
                precedence + 1
            })?;
            let below = left.height.max(right.height);
            left = self.node(
                SyntaxKind::Binary(operator, Box::new([left, right])),
                span,
                below,
            )?;
            if let Some(not) = negated {
                let below = left.height;
                left = self.node(SyntaxKind::Unary(Unary::Not, Box::new(left)), not, below)?;
            }
            after_coalesce = operator == Binary::Coalesce;
        }
        if minimum == 0 {
            left = self.conditional(left)?;
        }
        Ok(left)
    }

    /// Steps over the `not` of `… not in …`, and gives its place.
    ///
    /// Expr 1.16 takes the `not` off the text before it knows whether the operator after it binds loosely enough to be
    /// handled there; where it does not, as in `q + 1 not in [2]`, the `not` is lost and the test is the opposite.
    fn infix_not(&mut self, minimum: u16) -> Result<Option<Span>, CompileError> {
        if !self.at("not") {
            return Ok(None);
        }
        let sign = self.text(self.following());
        if sign == "in" && minimum <= COMPARISON {
            return Ok(Some(self.advance()));
        }
        if sign == "in" {
            return self.refuse(
                self.current().span,
                "Expr drops a `not` after an operator and tests the opposite; write `not (… in …)`",
            );
        }
        if is_string_operator(sign) {
            return self.refuse(
                self.following().span,
                format!("the string operator `{sign}` is not supported"),
            );
        }
        self.unexpected("`in` after an infix `not`, or `not (…)` around the whole")
    }

    fn declaration(&mut self) -> Result<Syntax, CompileError> {
        self.advance();
        let (name, span) = self.expect_name("a name after `let`")?;
        self.expect("=", "`=` and the value of the variable")?;
        let value = self.expression(0)?;
        self.expect(";", "`;` and the expression that uses the variable")?;
        let body = self.expression(0)?;
        let below = value.height.max(body.height);
        self.node(
            SyntaxKind::Let {
                name,
                value: Box::new(value),
                body: Box::new(body),
            },
            span,
            below,
        )
    }

    fn conditional(&mut self, mut node: Syntax) -> Result<Syntax, CompileError> {
        while self.at("?") {
            let span = self.advance();
            if self.at(":") {
                self.advance();
                let otherwise = self.expression(0)?;
                let below = node.height.max(otherwise.height);
                node = self.node(SyntaxKind::Elvis(Box::new([node, otherwise])), span, below)?;
            } else {
                let then = self.expression(0)?;
                self.expect(":", "`:` and the other branch of `?`")?;
                let otherwise = self.expression(0)?;
                let below = node.height.max(then.height).max(otherwise.height);
                node = self.node(
                    SyntaxKind::Conditional(Box::new([node, then, otherwise])),
                    span,
                    below,
                )?;
            }
        }
        Ok(node)
    }

    fn primary(&mut self) -> Result<Syntax, CompileError> {
        if self.current().kind == TokenKind::Operator {
            let unary = match self.text(self.current()) {
                "not" | "!" => Some((Unary::Not, NOT)),
                "-" => Some((Unary::Minus, SIGN)),
                "+" => Some((Unary::Plus, SIGN)),
                _ => None,
            };
            if let Some((operator, precedence)) = unary {
                let span = self.advance();
                let operand = self.expression(precedence)?;
                let below = operand.height;
                let node =
                    self.node(SyntaxKind::Unary(operator, Box::new(operand)), span, below)?;
                return self.postfix(node);
            }
            if self.at("::") {
                self.advance();
                let (name, span) = self.expect_name("a function after `::`")?;
                let call = self.call(name, span, Vec::new(), false)?;
                return self.postfix(call);
            }
            if self.at(".") {
                return self.refuse(
                    self.current().span,
                    "a leading `.` reads a field of a closure's element, and closures are not supported",
                );
            }
            return self.unexpected("a value");
        }
        if self.at("(") {
            self.advance();
            let inner = self.expression(0)?;
            self.expect(")", "an operator or `)`")?;
            return self.postfix(inner);
        }
        self.secondary()
    }

    fn secondary(&mut self) -> Result<Syntax, CompileError> {
        let token = self.current().clone();
        let text = self.text(&token);
        let span = token.span;
        match token.kind {
            TokenKind::Name => {
                self.advance();
                match text {
                    "true" => self.node(SyntaxKind::Bool(true), span, 0),
                    "false" => self.node(SyntaxKind::Bool(false), span, 0),
                    "nil" => self.node(SyntaxKind::Nil, span, 0),
                    _ => {
                        let node = if self.at("(") {
                            self.call(text.to_owned(), span, Vec::new(), true)?
                        } else {
                            self.node(SyntaxKind::Name(text.to_owned()), span, 0)?
                        };
                        self.postfix(node)
                    }
                }
            }
            TokenKind::Number => {
                self.advance();
                let kind = self.number(text, span)?;
                self.node(kind, span, 0)
            }
            TokenKind::Text(value) => {
                self.advance();
                self.node(SyntaxKind::Text(value), span, 0)
            }
            TokenKind::Bracket if text == "[" => {
                let array = self.array()?;
                self.postfix(array)
            }
            TokenKind::Bracket if text == "{" => {
                self.refuse(span, "maps (`{…}`) are not supported")
            }
            _ => self.unexpected("a value"),
        }
    }

    fn number(&self, text: &str, span: Span) -> Result<SyntaxKind, CompileError> {
        let digits = text.replace('_', "");
        let lower = digits.to_ascii_lowercase();
        if !lower.starts_with("0x") && lower.contains(['.', 'e']) {
            return match number::float_literal(&digits) {
                Some(value) => Ok(SyntaxKind::Float(value)),
                None => self.refuse(
                    span,
                    format!("`{text}` is not a float that fits in 64 bits"),
                ),
            };
        }
        match number::integer_literal(&digits) {
            Some(value) => Ok(SyntaxKind::Int(value)),
            None => self.refuse(
                span,
                format!("`{text}` is not an integer that fits in 64 bits"),
            ),
        }
    }

    fn array(&mut self) -> Result<Syntax, CompileError> {
        let span = self.advance();
        let mut elements = Vec::new();
        while !self.at("]") {
            if !elements.is_empty() {
                self.expect(",", "an operator, `,` or `]`")?;
                // Arrays may end in a comma, arguments may not.
                if self.at("]") {
                    break;
                }
            }
            elements.push(self.expression(0)?);
        }
        self.advance();
        let below = elements
            .iter()
            .map(|element| element.height)
            .max()
            .unwrap_or(0);
        self.node(SyntaxKind::Array(elements), span, below)
    }

    fn call(
        &mut self,
        name: String,
        span: Span,
        piped: Vec<Syntax>,
        metrics_first: bool,
    ) -> Result<Syntax, CompileError> {
        if metrics_first && self.names.slot(&name).is_some() {
            return self.refuse(
                span,
                format!("`{name}` is a metric here, not a function; the function is `::{name}(…)`"),
            );
        }
        if takes_closure(&name) {
            return self.refuse(
                span,
                format!("the function `{name}` takes a closure, and closures are not supported"),
            );
        }
        let arguments = self.arguments(piped)?;
        let below = arguments
            .iter()
            .map(|argument| argument.height)
            .max()
            .unwrap_or(0);
        self.node(SyntaxKind::Call { name, arguments }, span, below)
    }

    fn arguments(&mut self, mut arguments: Vec<Syntax>) -> Result<Vec<Syntax>, CompileError> {
        let piped = arguments.len();
        self.expect("(", "`(` and the function's arguments")?;
        while !self.at(")") {
            if arguments.len() > piped {
                self.expect(",", "an operator, `,` or `)`")?;
            }
            arguments.push(self.expression(0)?);
        }
        self.advance();
        Ok(arguments)
    }

    fn postfix(&mut self, mut node: Syntax) -> Result<Syntax, CompileError> {
        loop {
            if self.at(".") || self.at("?.") {
                self.advance();
                node = self.member(node)?;
            } else if self.at("[") {
                node = self.element(node)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn member(&mut self, receiver: Syntax) -> Result<Syntax, CompileError> {
        let token = self.current().clone();
        let name = self.text(&token);
        let word = name.starts_with(|first: char| first == '_' || first.is_alphabetic());
        if token.kind != TokenKind::Name && !(token.kind == TokenKind::Operator && word) {
            return self.unexpected("the name of a method");
        }
        self.advance();
        let (name, receiver, mut below) = (name.to_owned(), Box::new(receiver), 0);
        let kind = if self.at("(") {
            let arguments = self.arguments(Vec::new())?;
            below = arguments
                .iter()
                .map(|argument| argument.height)
                .max()
                .unwrap_or(0);
            below = below.max(receiver.height);
            SyntaxKind::Method {
                receiver,
                name,
                arguments,
            }
        } else {
            below = below.max(receiver.height);
            SyntaxKind::Property { receiver, name }
        };
        self.node(kind, token.span, below)
    }

    fn element(&mut self, receiver: Syntax) -> Result<Syntax, CompileError> {
        let span = self.advance();
        let from = if self.at(":") {
            None
        } else {
            Some(self.expression(0)?)
        };
        if let Some(index) = from {
            if self.at("]") {
                self.advance();
                let below = receiver.height.max(index.height);
                return self.node(SyntaxKind::Index(Box::new([receiver, index])), span, below);
            }
            self.expect(":", "`]`, or `:` and the end of the slice")?;
            return self.slice(receiver, Some(index), span);
        }
        self.advance();
        self.slice(receiver, None, span)
    }

    fn slice(
        &mut self,
        receiver: Syntax,
        from: Option<Syntax>,
        span: Span,
    ) -> Result<Syntax, CompileError> {
        let to = if self.at("]") {
            None
        } else {
            Some(self.expression(0)?)
        };
        self.expect("]", "an operator or `]`")?;
        let height = |bound: &Option<Syntax>| bound.as_ref().map_or(0, |bound| bound.height);
        let below = receiver.height.max(height(&from)).max(height(&to));
        self.node(
            SyntaxKind::Slice(Box::new((receiver, from, to))),
            span,
            below,
        )
    }
}
