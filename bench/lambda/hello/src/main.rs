//! The least function over `lambda_http`: no key, no secret, no store, no log, one thread. What every function costs
//! whatever it does, and so what the others are measured against.

use lambda_http::{Body, Error, Request, Response, run, service_fn};

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(service_fn(hello)))
}

async fn hello(_: Request) -> Result<Response<Body>, Error> {
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Body::from(r#"{"message":"hello"}"#))?)
}
