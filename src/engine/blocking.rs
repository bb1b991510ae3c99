//! Work that may block, off the threads that drive builds.

/// Runs `work` where it may block; `cancelled` is what is said when the runtime is being shut down. A panic goes on here.
pub(super) async fn blocking<T, E>(
    cancelled: E,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(cancelled),
    }
}
