//! The functions of CESQL 1.0 (section 3.5), what they take and what type they give.
//!
//! Names are read in any case; a function is known by its name and the number of its arguments.
//! What they compute is in [`crate::text`], who calls it in `evaluate`.

use super::tree::{Node, Operator, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Bool,
    Concat,
    ConcatWs,
    Int,
    Left,
    Length,
    Lower,
    Right,
    String,
    Substring,
    Trim,
    Upper,
}

struct Signature {
    function: Function,
    name: &'static str,
    arguments_min: usize,
    arguments_max: usize,
    result: Type,
}

const fn signature(
    function: Function,
    name: &'static str,
    arguments_min: usize,
    arguments_max: usize,
    result: Type,
) -> Signature {
    Signature { function, name, arguments_min, arguments_max, result }
}

/// In the order of [`Function`].
const SIGNATURES: &[Signature] = &[
    signature(Function::Abs, "ABS", 1, 1, Type::Int),
    signature(Function::Bool, "BOOL", 1, 1, Type::Bool),
    signature(Function::Concat, "CONCAT", 0, usize::MAX, Type::Str),
    signature(Function::ConcatWs, "CONCAT_WS", 1, usize::MAX, Type::Str),
    signature(Function::Int, "INT", 1, 1, Type::Int),
    signature(Function::Left, "LEFT", 2, 2, Type::Str),
    signature(Function::Length, "LENGTH", 1, 1, Type::Int),
    signature(Function::Lower, "LOWER", 1, 1, Type::Str),
    signature(Function::Right, "RIGHT", 2, 2, Type::Str),
    signature(Function::String, "STRING", 1, 1, Type::Str),
    signature(Function::Substring, "SUBSTRING", 2, 3, Type::Str),
    signature(Function::Trim, "TRIM", 1, 1, Type::Str),
    signature(Function::Upper, "UPPER", 1, 1, Type::Str),
];

/// All names, for near ones.
pub(super) const NAMES: &[&str] = &[
    "ABS",
    "BOOL",
    "CONCAT",
    "CONCAT_WS",
    "INT",
    "LEFT",
    "LENGTH",
    "LOWER",
    "RIGHT",
    "STRING",
    "SUBSTRING",
    "TRIM",
    "UPPER",
];

impl Function {
    /// The function of that name, in any case, with so many arguments.
    pub(super) fn find(name: &str, arguments: usize) -> Option<Function> {
        let fits = |signature: &&Signature| {
            let range = signature.arguments_min..=signature.arguments_max;
            signature.name.eq_ignore_ascii_case(name) && range.contains(&arguments)
        };
        SIGNATURES.iter().find(fits).map(|signature| signature.function)
    }

    pub(super) fn name(self) -> &'static str {
        self.signature().name
    }

    /// The type of its result.
    pub(super) fn result(self) -> Type {
        self.signature().result
    }

    fn signature(self) -> &'static Signature {
        &SIGNATURES[self as usize]
    }
}

/// The type that `node` has in every event, if it is known.
pub(super) fn type_of(node: &Node) -> Option<Type> {
    match node {
        Node::Name(_) | Node::Unknown { .. } => None,
        Node::Int(_) | Node::Minus(_) => Some(Type::Int),
        Node::Str(_) => Some(Type::Str),
        Node::Bool(_) | Node::Exists(_) | Node::Not(_) | Node::Tested { .. } => Some(Type::Bool),
        Node::Call { function, .. } => Some(function.result()),
        Node::Chain { rest, .. } => rest.first().map(|(operator, _)| match operator {
            Operator::Arithmetic(_) => Type::Int,
            Operator::Connective(_) | Operator::Comparison(_) => Type::Bool,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_agree() {
        for (index, signature) in SIGNATURES.iter().enumerate() {
            assert_eq!(signature.function as usize, index, "{}", signature.name);
            assert_eq!(NAMES[index], signature.name);
        }
        assert_eq!(SIGNATURES.len(), NAMES.len());
    }

    #[test]
    fn a_function_is_known_by_its_name_and_the_number_of_its_arguments() {
        assert_eq!(Function::find("substring", 2), Some(Function::Substring));
        assert_eq!(Function::find("SubString", 3), Some(Function::Substring));
        assert_eq!(Function::find("SUBSTRING", 4), None);
        assert_eq!(Function::find("CONCAT", 0), Some(Function::Concat));
        assert_eq!(Function::find("CONCAT_WS", 0), None);
        assert_eq!(Function::find("IS_INT", 1), None);
    }
}
