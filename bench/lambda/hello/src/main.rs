//! The smallest function on `lambda_http`: no key, secret, store or log, and one thread. It is the
//! fixed cost of every function, and the baseline for the others.

use lambda_http::{Body, Error, Request, Response, run, service_fn};

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(service_fn(hello)))
}

async fn hello(_: Request) -> Result<Response<Body>, Error> {
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Body::from(r#"{"message":"hello"}"#))?)
}
