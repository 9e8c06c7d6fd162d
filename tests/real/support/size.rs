//! How large the long tests are: a small one of each belongs to `make test`, the whole to
//! `make survive` and `make rolls`, whose figures stand in `docs/operating/`.

/// Whether the whole is wanted.
pub(crate) fn is_whole() -> bool {
    std::env::var("WARREN_TEST_SIZE").is_ok_and(|size| size == "whole")
}

/// `whole` if that is wanted, else `small`.
pub(crate) fn size<T>(whole: T, small: T) -> T {
    if is_whole() { whole } else { small }
}
