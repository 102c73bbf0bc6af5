//! The reference of the language, as `fly-autoscaler help expressions` prints it.

use super::{
    check::methods_of_times,
    functions::{Function, UNSUPPORTED},
};

/// What is written by hand; the crate's documentation has it too.
const LANGUAGE: &str = include_str!("language.md");

/// The language: what is written by hand, and the functions and methods as the compiler knows them.
#[must_use]
pub fn reference() -> String {
    let functions = Function::ALL.map(|function| {
        let (call, meaning) = function.usage();
        format!("- `{call}`: {meaning}\n")
    });
    let methods = methods_of_times().into_iter().map(|(receiver, methods)| {
        let methods: Vec<String> = methods.iter().map(|name| format!("`.{name}`")).collect();
        format!("- {receiver} has {}\n", methods.join(" "))
    });
    format!(
        "{LANGUAGE}\n**Functions:**\n\n{}\n**Methods:**\n\n{}\n**Functions of Expr that are refused:** {}",
        functions.concat(),
        methods.collect::<String>(),
        UNSUPPORTED.join(", ")
    )
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
            assert!(text.contains(&format!("- `{call}`: ")), "{call}");
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
            "- a time has `.Year()` `.Month()`",
            "`.After(time)`",
            "`.In(time zone)`",
            "- a duration has `.Hours()`",
            "- a weekday has `.String()`",
            "groupBy, reduce, type",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
}
