//! What a client does next, by its face.

use crate::client::Standing;
use crate::world::World;

impl World {
    pub fn client_step(&mut self, client: usize, serial: u64) {
        if self.clients[client].serial != serial {
            return;
        }
        match self.clients[client].standing {
            Standing::Away => self.client_calls(client),
            Standing::Calling => self.client_refused(client),
            Standing::Ready(connection) => match self.clients[client].http {
                true => self.http_asks(client, connection),
                false => self.resp_asks(client, connection),
            },
            Standing::Waiting { connection, .. } => {
                // Who does not answer may no longer lead.
                let other = self.dice.below(self.scenario.data_nodes as u64) as usize;
                self.clients[client].leaders.fill(other);
                self.client_gives_up(client, connection);
                self.drop_connection(client, connection);
                self.client_closed(client, connection);
            }
        }
    }

    pub fn client_bytes(&mut self, client: usize, connection: u64, bytes: Vec<u8>) {
        self.clients[client].inbox.extend_from_slice(&bytes);
        if self.clients[client].http {
            return self.http_bytes(client, connection);
        }
        self.resp_bytes(client, connection);
    }
}
