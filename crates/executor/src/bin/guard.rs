//! The guard as a program of its own, for the tests of this crate. The product starts it as `stepcast guard`.

fn main() -> std::process::ExitCode {
    executor::guard::main()
}
