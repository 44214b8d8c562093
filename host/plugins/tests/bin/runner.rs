//! Is a plugin process of the tests, as `pinion plugin-runner` is one of the product.

fn main() {
    plugins::runner::main(std::env::args_os().skip(1))
}
