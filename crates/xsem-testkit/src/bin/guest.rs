//! The first process of an emulated machine: see `xsem_testkit::guest`.

fn main() {
    if let Some(code) = xsem_testkit::guest::other_name() {
        std::process::exit(code);
    }
    eprintln!("guest: {}", xsem_testkit::guest::run());
    std::process::exit(2);
}
