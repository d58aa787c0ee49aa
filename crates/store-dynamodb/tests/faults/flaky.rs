//! The contract that every backend passes, while one call in four fails temporarily: throttled
//! calls succeed in the end, and calls whose answer was lost take effect once.

use std::sync::Arc;

use onerun_store::Store;
use onerun_store_dynamodb::local::ScratchTable;

use crate::client::{Call, Fault, Faulty};

async fn flaky_store() -> (Arc<dyn Store>, ScratchTable) {
    let table = crate::table();
    (Arc::new(Faulty::new(fault).store(&table)), table)
}

fn fault(call: &Call) -> Fault {
    let transaction = call.operation.starts_with("Transact");
    match call.total % 16 {
        3 => Fault::error(400, "ProvisionedThroughputExceededException"),
        6 if transaction => Fault::canceled("ThrottlingError"),
        6 => Fault::error(500, "InternalServerError"),
        9 | 14 => Fault::Lost,
        12 if call.operation == "BatchGetItem" => Fault::Partial(1),
        _ => Fault::None,
    }
}

onerun_store::contract!(flaky_store);
