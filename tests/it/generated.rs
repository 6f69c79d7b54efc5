//! Sources that are made up: enough units, headers and language features for a build to be a build.

use crate::support::Project;
use std::fmt::Write;

/// Units of each kind of library.
const UNITS_OF_A_KIND: usize = 36;
/// Units of tests with googletest.
const TEST_UNITS: usize = 6;

/// A CMake project of more than a hundred C++ units.
pub fn cxx_project(project: &Project) {
    project.write("CMakeLists.txt", include_str!("../projects/cxx/CMakeLists.txt"));
    project.write("config.h.in", "#pragma once\n#cmakedefine HAVE_OPTIONAL 1\n");
    project.write("include/shape.h", SHAPE);
    project.write("include/detail/registry.h", REGISTRY);
    project.write(
        "units/plain.c",
        "#include <string.h>\nint plain(const char *t) { return (int)strlen(t); }\n",
    );
    let mut calls = String::new();
    let mut declarations = String::new();
    for kind in ["static", "shared", "object"] {
        for number in 0..UNITS_OF_A_KIND {
            project.write(&format!("units/{kind}_{number}.cc"), unit(kind, number));
            if kind == "static" || kind == "shared" {
                writeln!(declarations, "int {kind}_{number}(int);").unwrap();
                writeln!(calls, "    sum += {kind}_{number}({number});").unwrap();
            }
        }
    }
    let main = format!(
        "#include <cstdio>\n{declarations}int main() {{\n    long sum = 0;\n{calls}    \
         std::printf(\"%ld\\n\", sum);\n}}\n"
    );
    project.write("main.cc", main);
    for number in 0..TEST_UNITS {
        let text = format!(
            "#include <gtest/gtest.h>\n#include \"shape.h\"\nint static_{number}(int);\n\
             TEST(Static, Number{number}) {{ EXPECT_NE(static_{number}(1), -1); }}\n"
        );
        project.write(&format!("tests/test_{number}.cc"), text);
    }
}

const SHAPE: &str = r#"#pragma once
#include "config.h"
#include <type_traits>
struct Shape {
    virtual ~Shape() = default;
    virtual double area() const = 0;
};
template <int N> struct Polygon : Shape {
    double side = 1;
    double area() const override { return N * side * side / 4; }
};
"#;

const REGISTRY: &str = r#"#ifndef DETAIL_REGISTRY_H
#define DETAIL_REGISTRY_H
#include "../shape.h"
#include <map>
#include <memory>
#include <string>
#include <vector>
template <class Value> class Registry {
    std::map<std::string, Value> values;
public:
    void add(const std::string &name, Value value) { values[name] = value; }
    Value find(const std::string &name) const {
        auto found = values.find(name);
        return found == values.end() ? Value() : found->second;
    }
};
#endif
"#;

/// Every third unit draws in much of the standard library; all of them would, and the build were long.
fn unit(kind: &str, number: usize) -> String {
    // Every ninth unit has something for -Wextra to say.
    let unused = if number.is_multiple_of(9) { "int unused_here;" } else { "" };
    let export = if kind == "shared" { "__attribute__((visibility(\"default\")))" } else { "" };
    let (includes, body) = if number.is_multiple_of(3) {
        let extra = ["<algorithm>", "<sstream>", "<functional>", "<set>"][number % 4];
        (
            format!("#include \"detail/registry.h\"\n#include {extra}"),
            format!(
                r#"Registry<int> registry;
    registry.add("{kind}", {number});
    std::vector<std::unique_ptr<Shape>> shapes;
    shapes.push_back(std::make_unique<Local>());
    double area = 0;
    for (const auto &shape : shapes) area += shape->area();
    return registry.find("{kind}") + static_cast<int>(area) * value;"#
            ),
        )
    } else {
        let body = "Local local;\n    return static_cast<int>(local.area()) * value + local.tag;";
        ("#include \"shape.h\"".to_owned(), body.to_owned())
    };
    format!(
        r#"{includes}
#include <cassert>
namespace {{
struct Local : Polygon<{sides}> {{ int tag = {number}; }};
}}
{export} int {kind}_{number}(int value) {{
    {unused}
    assert(value >= 0 && "{kind} {number}");
    {body}
}}
"#,
        sides = number % 7 + 3,
    )
}

/// Units of C with a Makefile, each with enough to compile to be caught in the middle of it.
pub fn c_project(project: &Project, units: usize) {
    project.write(
        "shared.h",
        "#pragma once\n#include <stdio.h>\n#include <stdlib.h>\n#define SCALE 3\n",
    );
    let mut objects = String::new();
    for number in 0..units {
        let mut text = "#include \"shared.h\"\n".to_owned();
        for function in 0..60 {
            writeln!(
                text,
                "int f{number}_{function}(int x) {{ int a[8]; for (int i = 0; i < 8; i++) a[i] = \
                 x * i * SCALE + {function}; if (a[x & 7] > {number}) printf(\"%d\\n\", a[3]); \
                 return a[x & 7]; }}"
            )
            .unwrap();
        }
        project.write(&format!("u{number}.c"), text);
        write!(objects, " u{number}.o").unwrap();
    }
    let makefile = format!(
        "CC = cc\nall.a:{objects}\n\tar rcs $@ $^\n%.o: %.c\n\t$(CC) -O1 -Wall -MMD -c $< -o $@\n"
    );
    project.write("Makefile", makefile);
}
