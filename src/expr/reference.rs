//! The reference of the language, as `fly-autoscaler help expressions` prints it.

use super::{
    check::methods_of_times,
    functions::{Function, UNSUPPORTED},
};

/// What is written by hand; the crate's documentation has it too.
const LANGUAGE: &str = include_str!("language.txt");

/// The longest line, in characters.
const LINE: usize = 104;

/// How wide the column of examples is.
const WIDTH: usize = 28;

/// The language: what is written by hand, and the functions and methods as the compiler knows them.
#[must_use]
pub fn reference() -> String {
    let functions = Function::ALL.map(|function| {
        let (call, meaning) = function.usage();
        format!("  {call:<WIDTH$}{meaning}\n")
    });
    let methods = methods_of_times().into_iter().map(|(receiver, methods)| {
        let methods: Vec<String> = methods.iter().map(|name| format!(".{name}")).collect();
        wrapped(&format!("{receiver}: {}", methods.join(" ")))
    });
    format!(
        "{LANGUAGE}\nFunctions\n{}\nMethods\n{}\nFunctions of Expr that are refused\n{}",
        functions.concat(),
        methods.collect::<String>(),
        wrapped(&UNSUPPORTED.join(", ")).trim_end()
    )
}

/// Lines of words, indented; the following ones further.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from(" ");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > LINE {
            lines.push_str(&line);
            lines.push('\n');
            line = " ".repeat(3);
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Expression, Names};

    #[test]
    fn every_function_is_shown_by_a_call_that_compiles() {
        let names = Names::new(["queue_depth".to_owned()]);
        let text = reference();
        for function in Function::ALL {
            let (call, _) = function.usage();
            assert!(call.starts_with(&format!("{}(", function.name())), "{call}");
            assert!(text.contains(&format!("\n  {call} ")), "{call}");
            let number = match function {
                Function::Now | Function::Date => format!("{call}.Unix()"),
                Function::Duration => format!("{call}.Seconds()"),
                Function::Timezone => format!("now().In({call}).Hour()"),
                _ => call.to_owned(),
            };
            if let Err(error) = Expression::compile(&number, &names) {
                panic!("{number}: {error}");
            }
        }
    }

    #[test]
    fn methods_and_refused_functions_are_named() {
        let text = reference();
        for expected in [
            "\n  a time: .Year() .Month()",
            " .After(time)",
            " .In(time zone)",
            "\n  a duration: .Hours()",
            "\n  a weekday: .String()",
            " reduce,",
            " type,",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn it_is_plain_text_for_a_terminal() {
        for line in reference().lines() {
            assert!(line.chars().count() <= LINE, "{line}");
            for markup in ["`", "<http"] {
                assert!(!line.contains(markup), "{line}");
            }
            // A power is no emphasis.
            assert!(!line.replace(" **", "").contains("**"), "{line}");
        }
    }
}
