//! The server: one loop over what is ready, and what follows from it.

use crate::Error;
use crate::host::Host;

use super::arguments::Arguments;

/// Serves until it is over.
pub(super) fn serve<H: Host>(_host: &mut H, _arguments: &Arguments) -> Result<(), Error> {
    Ok(())
}
