//! The C++ project of the demo: templates and standard headers, as in real programs.

use std::fmt::Write;
use std::path::Path;

/// Units that are compiled, without the one that holds `main`.
pub const UNITS: usize = 24;

/// Headers that real units include, and that take the compiler time.
const STANDARD_HEADERS: [&str; 8] =
    ["algorithm", "functional", "map", "memory", "regex", "sstream", "unordered_map", "vector"];

const TABLE_HEADER: &str = r#"#pragma once
#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <vector>

namespace demo {

// A table of rows, sorted by a key that the caller names.
template <typename Key, typename Row>
class Table {
public:
    void insert(Key key, Row row) { rows_[key].push_back(std::move(row)); }

    template <typename Fold, typename Start>
    Start fold(Start start, Fold step) const {
        for (const auto& [key, rows] : rows_)
            for (const auto& row : rows) start = step(start, key, row);
        return start;
    }

    std::size_t size() const {
        return std::accumulate(rows_.begin(), rows_.end(), std::size_t{0},
                               [](std::size_t sum, const auto& entry) {
                                   return sum + entry.second.size();
                               });
    }

private:
    std::map<Key, std::vector<Row>> rows_;
};

}  // namespace demo
"#;

const MATRIX_HEADER: &str = r#"#pragma once
#include <array>
#include <cstddef>

namespace demo {

// A square matrix whose size is known to the compiler.
template <typename Number, std::size_t Size>
struct Matrix {
    std::array<std::array<Number, Size>, Size> cells{};

    static Matrix counting(Number start) {
        Matrix matrix;
        for (auto& row : matrix.cells)
            for (auto& cell : row) cell = start++ % 7;
        return matrix;
    }

    Matrix operator*(const Matrix& other) const {
        Matrix product;
        for (std::size_t i = 0; i < Size; ++i)
            for (std::size_t j = 0; j < Size; ++j)
                for (std::size_t k = 0; k < Size; ++k)
                    product.cells[i][j] += cells[i][k] * other.cells[k][j] % 1009;
        return product;
    }

    Number trace() const {
        Number sum{};
        for (std::size_t i = 0; i < Size; ++i) sum += cells[i][i];
        return sum;
    }
};

}  // namespace demo
"#;

/// The names of the units, the one with `main` last.
pub fn unit_names() -> Vec<String> {
    (0..UNITS).map(|index| format!("unit_{index:02}")).chain(["main".to_owned()]).collect()
}

/// Writes the project into a folder.
pub fn write(folder: &Path) -> Result<(), String> {
    let mut files = vec![
        ("table.hpp".to_owned(), TABLE_HEADER.to_owned()),
        ("matrix.hpp".to_owned(), MATRIX_HEADER.to_owned()),
        ("main.cpp".to_owned(), main_unit()),
    ];
    files.extend((0..UNITS).map(|index| (format!("unit_{index:02}.cpp"), unit(index))));
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Changes what one unit computes; the unit's name.
pub fn edit_one_unit(folder: &Path) -> Result<String, String> {
    let name = "unit_00".to_owned();
    let path = folder.join(format!("{name}.cpp"));
    let edited = unit(0).replace("long total = ", "long total = 1 + ");
    std::fs::write(&path, edited).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(name)
}

fn unit(index: usize) -> String {
    let mut text = String::from("#include \"matrix.hpp\"\n#include \"table.hpp\"\n");
    // Three of the standard headers each, so that units differ in what they read.
    for step in 0..3 {
        let header = STANDARD_HEADERS[(index + step * 3) % STANDARD_HEADERS.len()];
        let _ = writeln!(text, "#include <{header}>");
    }
    let size = 3 + index % 6;
    let key = if index.is_multiple_of(2) { "std::string" } else { "long" };
    let make_key = if index.is_multiple_of(2) {
        "std::to_string(i % 17)"
    } else {
        "static_cast<long>(i % 13)"
    };
    let _ = write!(
        text,
        r#"
namespace {{

struct Row_{index} {{
    long number;
    std::string name;
}};

long tabulate(long seed) {{
    demo::Table<{key}, Row_{index}> table;
    for (long i = 0; i < 200; ++i)
        table.insert({make_key}, Row_{index}{{seed + i, "row " + std::to_string(i)}});
    return table.fold(0L, [](long sum, const {key}&, const Row_{index}& row) {{
        return (sum * 31 + row.number + static_cast<long>(row.name.size())) % 1000003;
    }}) + static_cast<long>(table.size());
}}

long multiply(long seed) {{
    auto matrix = demo::Matrix<long, {size}>::counting(seed);
    return (matrix * matrix * matrix).trace();
}}

long sorted(long seed) {{
    std::vector<std::string> names;
    for (long i = 0; i < 100; ++i) names.push_back(std::to_string((seed * 7919 + i * 104729) % 9973));
    std::sort(names.begin(), names.end(), [](const auto& left, const auto& right) {{
        return left.size() != right.size() ? left.size() < right.size() : left < right;
    }});
    return std::stol(names[names.size() / 2]);
}}

}}  // namespace

long unit_{index:02}(long seed) {{
    long total = tabulate(seed) + multiply(seed) + sorted(seed + {index});
    return total % 1000003;
}}
"#
    );
    text
}

fn main_unit() -> String {
    let mut text = String::from("#include <cstdio>\n\n");
    for index in 0..UNITS {
        let _ = writeln!(text, "long unit_{index:02}(long seed);");
    }
    text.push_str("\nint main() {\n    long total = 1;\n");
    for index in 0..UNITS {
        let _ = writeln!(text, "    total = unit_{index:02}(total);");
    }
    text.push_str("    std::printf(\"%ld\\n\", total);\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_written_and_the_edit_changes_one() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        for unit in unit_names() {
            assert!(read(&format!("{unit}.cpp")).contains("#include"));
        }
        let before = read("unit_00.cpp");
        assert_eq!(edit_one_unit(folder.path()).unwrap(), "unit_00");
        assert_ne!(read("unit_00.cpp"), before);
    }
}
