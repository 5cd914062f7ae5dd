/** The fabric of a cloud by BGP: the BIRD of a router, and what a cell has to declare so that its nodes have sessions with such routers. */
import type { LabInput } from "./lab-file.ts";

type ProcessInput = NonNullable<NonNullable<LabInput["spec"]["hosts"]>[number]["processes"]>[number];

export const ROUTER_AS = 64512;
export const NODE_AS = 64600;

/** The routing of a cell (`Cell.spec.routing`) whose nodes are between `fabric-in` and `fabric-out`. */
export const CELL_ROUTING = {
  driver: "bird",
  localAs: NODE_AS,
  sessions: [
    { name: "inside", side: "inside", peerAs: ROUTER_AS },
    { name: "outside", side: "outside", peerAs: ROUTER_AS },
  ],
} as const;

/**
 * A router's BIRD. It takes sessions from whoever is on a cable of `neighbours`, a block, and believes them about prefixes that match `accept`,
 * prefixes in BIRD's notation; several nodes with one prefix make an ECMP route.
 */
export function routerBird(neighbours: string, accept: readonly string[]): ProcessInput {
  return {
    name: "bird",
    // BFD leaves it little time; the rest of the machine may be busy.
    command: ["nice", "-n", "-10", "bird", "-f", "-c", "bird.conf", "-s", "bird.ctl", "-P", "bird.pid"],
    files: { "bird.conf": routerConfig(neighbours, accept) },
    ready: { tcp: 179 },
  };
}

function routerConfig(neighbours: string, accept: readonly string[]): string {
  return `log stderr all;
protocol device { scan time 5; }
protocol kernel {
  merge paths on limit 64;
  ipv4 { import none; export where source = RTS_BGP; };
}
protocol bfd {
  interface "node*" { interval 100 ms; multiplier 3; };
}
protocol bgp nodes {
  local as ${ROUTER_AS};
  neighbor range ${neighbours} as ${NODE_AS};
  dynamic name "node";
  bfd on;
  hold time 9;
  connect delay time 1;
  error wait time 1, 2;
  error forget time 5;
  ipv4 {
    import where net ~ [ ${accept.join(", ")} ];
    export none;
  };
}
`;
}
