//! `rcache config`: each setting in force and where it came from.

use super::Outcome;
use super::definition::wrapped;
use super::screen::{self, Paint, Style};
use config::{Config, Environment, Origin, Row, Value};
use serde_json::{Map, json};
use std::process::ExitCode;

/// Shows the settings, also when something is wrong with them; then the exit status is 1.
pub fn run(options: &clap::ArgMatches) -> Outcome {
    if options.get_flag("template") {
        screen::print(&template());
        return Ok(ExitCode::SUCCESS);
    }
    print(options.get_flag("json"))
}

/// A settings file in which nothing is set yet.
fn template() -> String {
    let mut text = "# Settings of rcache. Remove the # before a line to change it; \
                    `rcache config` shows what holds.\n"
        .to_owned();
    for key in config::KEYS {
        // What depends on the machine is written in words.
        let default = match config::edit::is_toml_value(key.default) {
            true => key.default.to_owned(),
            false => format!("…  ({})", key.default),
        };
        let meaning = wrapped(key.meaning, "# ");
        text.push_str(&format!("\n{meaning}\n#{} = {default}\n", key.name));
    }
    text
}

/// Shows them for a person.
pub fn show() -> Outcome {
    print(false)
}

fn print(in_json: bool) -> Outcome {
    let environment = Environment::of_this_process();
    let loaded = Config::load(&environment);
    match in_json {
        true => screen::print_json(&as_json(&loaded.rows())),
        false => {
            screen::print(&render(&loaded.rows(), Style::of_stdout()));
        }
    }
    match loaded.problems.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(super::problems(&loaded)),
    }
}

/// One line for each key: name, value, origin.
fn render(rows: &[Row], style: Style) -> String {
    let width = |texts: Vec<String>| texts.iter().map(|text| text.chars().count()).max();
    let keys = width(rows.iter().map(|row| row.key.to_owned()).collect()).unwrap_or(0);
    let values = width(rows.iter().map(|row| shown(&row.value)).collect()).unwrap_or(0);
    // One long list must not push every origin off the screen.
    let values = values.min(40);
    let line = |row: &Row| {
        let value = format!("{:values$}", shown(&row.value));
        let (value, origin) = match row.origin {
            Origin::Default => (value, style.paint(Paint::Dim, "default")),
            _ => (style.paint(Paint::Bold, &value), row.origin.to_string()),
        };
        format!("{:keys$} = {value}  {origin}\n", row.key)
    };
    rows.iter().map(line).collect()
}

/// A list has blanks between its members, and what is empty is shown as such.
fn shown(value: &Value) -> String {
    match value.to_string() {
        text if text.is_empty() => "(none)".to_owned(),
        text => text,
    }
}

/// `{ KEY: { "value": …, "origin": "default" | "file" | "environment", … } }`
fn as_json(rows: &[Row]) -> serde_json::Value {
    let row = |row: &Row| {
        let value = match &row.value {
            Value::Bool(value) => json!(value),
            Value::Integer(value) => json!(value),
            Value::Share(value) => json!(value.number()),
            Value::Text(value) => json!(value),
            Value::List(values) => json!(values),
        };
        let setting = match &row.origin {
            Origin::Default => json!({ "value": value, "origin": "default" }),
            Origin::File { path, line: Some(line) } => json!({
                "value": value, "origin": "file", "file": path.to_string_lossy(), "line": line
            }),
            Origin::File { path, line: None } => {
                json!({ "value": value, "origin": "file", "file": path.to_string_lossy() })
            }
            Origin::Environment { name } => {
                json!({ "value": value, "origin": "environment", "variable": name })
            }
        };
        (row.key.to_owned(), setting)
    };
    serde_json::Value::Object(rows.iter().map(row).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let file = Origin::File { path: "/etc/rcache/rcache.toml".into(), line: Some(3) };
        let variable = Origin::Environment { name: "RCACHE_HOSTS".into() };
        let list = Value::List(vec!["a/2".into(), "b".into()]);
        vec![
            Row { key: "disable", value: Value::Bool(false), origin: Origin::Default },
            Row { key: "max_size", value: Value::Text("5.0G".into()), origin: file },
            Row { key: "hosts", value: list, origin: variable },
            Row { key: "namespace", value: Value::Text(String::new()), origin: Origin::Default },
        ]
    }

    #[test]
    fn a_template_names_every_key_and_sets_none() {
        let text = template();
        assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "{text}");
        for key in config::KEYS {
            assert!(text.contains(&format!("\n#{} = ", key.name)), "{}", key.name);
        }
        assert!(text.contains("\n#max_size = \"5.0G\"\n") && text.contains("\n#hosts = []\n"));
    }

    #[test]
    fn a_table_for_people() {
        assert_eq!(
            render(&rows(), Style::Plain),
            "\
disable   = false   default
max_size  = 5.0G    /etc/rcache/rcache.toml:3
hosts     = a/2 b   RCACHE_HOSTS
namespace = (none)  default
"
        );
        assert!(render(&rows(), Style::Terminal).contains("\x1b[2mdefault\x1b[0m"));
    }

    #[test]
    fn an_object_for_scripts() {
        assert_eq!(
            as_json(&rows()),
            json!({
                "disable": { "value": false, "origin": "default" },
                "max_size": {
                    "value": "5.0G", "origin": "file",
                    "file": "/etc/rcache/rcache.toml", "line": 3
                },
                "hosts": {
                    "value": ["a/2", "b"], "origin": "environment", "variable": "RCACHE_HOSTS"
                },
                "namespace": { "value": "", "origin": "default" },
            })
        );
    }
}
