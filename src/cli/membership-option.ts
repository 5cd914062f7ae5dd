/** `--membership`: by what it is known which nodes are alive. */
import { Option } from "commander";

/** Of the controller and the server: whom it asks. */
export function membershipOption(): Option {
  return new Option(
    "--membership <url>",
    "who says which nodes are alive: store: (heartbeats in the store) or consul://HOST:8500",
  ).default("store:");
}

/** Of the agent: whom it tells. */
export function agentMembershipOption(): Option {
  return new Option(
    "--membership <url>",
    "to whom the agent says that it lives: store: or the Consul agent of this machine, consul://127.0.0.1:8500",
  ).default("store:");
}
