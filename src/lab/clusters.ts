/**
 * Real clusters in a lab: three hosts that each run a member of etcd and a server of Consul, and Consul's agents beside everything else, all on
 * the management network.
 */
import { CONSUL_TUNING } from "../membership/consul-tuning.ts";
import type { LabInput } from "./lab-file.ts";

type HostInput = NonNullable<LabInput["spec"]["hosts"]>[number];
type ProcessInput = NonNullable<HostInput["processes"]>[number];

/** The hosts of the clusters, with the addresses that they have in the management network 172.31.0.0/24. */
export const CLUSTER_HOSTS = [
  { name: "store1", address: "172.31.0.2" },
  { name: "store2", address: "172.31.0.3" },
  { name: "store3", address: "172.31.0.4" },
] as const;

/** For `--store` and for `--membership`, of programs beside an agent of Consul. */
export const CLUSTER_STORE_URL = `etcd://${CLUSTER_HOSTS.map(({ address }) => address).join(",")}/natto`;
export const CLUSTER_MEMBERSHIP_URL = "consul://127.0.0.1:8500";

/** Busy test machines start slowly. */
const READY_SECONDS = 60;

/** The control hosts `store1` to `store3`. */
export function clusterHosts(): HostInput[] {
  return CLUSTER_HOSTS.map(({ name }) => ({
    name,
    role: "control",
    processes: [etcdProcess(), consulProcess(["-server", "-bootstrap-expect", String(CLUSTER_HOSTS.length)])],
  }));
}

/** The agent of Consul on a host that is no server. */
export function consulAgentProcess(): ProcessInput {
  return consulProcess([]);
}

function etcdProcess(): ProcessInput {
  const peers = CLUSTER_HOSTS.map(({ name, address }) => `${name}=http://${address}:2380`).join(",");
  return {
    name: "etcd",
    command: [
      ...["etcd", "--name", "$(HOST)", "--data-dir", "$(STATE)/etcd", "--logger", "zap"],
      ...["--initial-cluster", peers, "--initial-cluster-token", "$(LAB)"],
      ...[
        "--listen-peer-urls",
        "http://$(SELF):2380",
        "--initial-advertise-peer-urls",
        "http://$(SELF):2380",
      ],
      ...["--listen-client-urls", "http://$(SELF):2379,http://127.0.0.1:2379"],
      ...["--advertise-client-urls", "http://$(SELF):2379"],
      ...["--experimental-watch-progress-notify-interval", "5s"],
    ],
    ready: { tcp: 2379, timeoutSeconds: READY_SECONDS },
  };
}

function consulProcess(more: readonly string[]): ProcessInput {
  return {
    name: "consul",
    command: [
      ...["$(CONSUL)", "agent", "-node", "$(HOST)", "-data-dir", "$(STATE)/consul", "-log-level", "warn"],
      ...["-bind", "$(SELF)", "-client", "127.0.0.1", "-disable-host-node-id"],
      ...CLUSTER_HOSTS.flatMap(({ address }) => ["-retry-join", address]),
      ...["-retry-interval", "1s", "-hcl", `${CONSUL_TUNING} ports { serf_wan = -1 dns = -1 }`],
      ...more,
    ],
    ready: { tcp: 8500, timeoutSeconds: READY_SECONDS },
  };
}
