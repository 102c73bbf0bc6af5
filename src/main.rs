//! The program: arguments in, a command carried out, an exit code out.

use std::{io::Write as _, process::ExitCode};

use fly_autoscaler::{
    commands::{self, Parsed},
    error_chain::chain,
    shown, stderr,
};

fn main() -> ExitCode {
    let code = act();
    stderr::flush();
    code
}

fn act() -> ExitCode {
    match commands::parse(std::env::args_os()) {
        Parsed::Run(command) => match commands::run(command) {
            Ok(code) => code,
            Err(error) => {
                complain(&chain(error.as_ref()));
                ExitCode::FAILURE
            }
        },
        Parsed::Show(text, code) => {
            show(&text);
            ExitCode::from(code)
        }
        Parsed::NoCommand(message, usage) => {
            show(&usage);
            complain(&message);
            ExitCode::from(2)
        }
        Parsed::Mistake(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn show(text: &str) {
    // Nobody is left to tell when standard output is closed.
    let _ = writeln!(std::io::stdout(), "{}", shown::block(text));
}

fn complain(message: &str) {
    stderr::write(format!("ERROR: {}", shown::block(message)));
}
