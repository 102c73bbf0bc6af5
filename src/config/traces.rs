//! Which values of the file hold what came out of which variable.
//!
//! The variables are replaced before the text is parsed, so that it is parsed once more with a mark in the place of each
//! that is looked for.

use super::{
    Place,
    env::Environment,
    expansion::{Segment, is_of_fleet, segments},
    file,
    settings::{RawSettings, Settings, Value},
};

/// What a variable is replaced by to see where it gets to; each followed by its number and an `x`.
const MARK: &str = "fas-traced-variable-";

/// The variables of the environment that the file names, each once.
pub(super) fn variables(file: &file::Written) -> Vec<&str> {
    let mut names = Vec::new();
    for segment in segments(&file.text) {
        if let Segment::Variable { name, .. } = segment
            && !is_of_fleet(name, file.keeps_region)
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

/// The file with a mark in the place of each of these variables; `None` if there is none, or if it changes the file's shape.
pub(super) fn read(
    file: &file::Written,
    environment: &Environment,
    names: &[&str],
) -> Option<Settings> {
    if names.is_empty() {
        return None;
    }
    let (path, text) = (&*file.path, &*file.text);
    let expanded = file::expand_by(path, text, file.keeps_region, |name| {
        let number = names.iter().position(|other| *other == name);
        let value = || environment.get(name).map(str::to_owned);
        number.map(mark).or_else(value)
    });
    let raw = file::parse(path, text, &expanded.ok()?, &mut Vec::new()).ok()?;
    let locate = |_: &str, _| Place::Option("");
    Some(Settings::merge(
        RawSettings::default(),
        raw,
        &locate,
        &mut Vec::new(),
    ))
}

/// Whether a value of that file holds what came out of the variable of this number.
pub(super) fn shows(value: &Value, number: usize) -> bool {
    value.text().contains(&mark(number))
}

fn mark(number: usize) -> String {
    format!("{MARK}{number}x")
}
