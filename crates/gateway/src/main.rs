//! The gateway.

mod settings;

fn main() {
    let settings = settings::from_process();
    println!("{settings:?}");
}
