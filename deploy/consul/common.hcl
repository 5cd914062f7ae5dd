# For all of Consul's agents of a cloud: ACLs, TLS among them, and gossip that notices a dead machine in about two seconds.
datacenter = "natto"
log_level = "warn"
# A machine that only restarts stays a member.
leave_on_terminate = false
skip_leave_on_interrupt = true
acl {
  enabled = true
  default_policy = "deny"
  enable_token_persistence = true
}
verify_incoming_rpc = true
verify_outgoing = true
ca_file = "/etc/consul.d/tls/ca.pem"
cert_file = "/etc/consul.d/tls/consul.pem"
key_file = "/etc/consul.d/tls/consul.key"
gossip_lan {
  probe_interval = "250ms"
  probe_timeout = "200ms"
  gossip_interval = "100ms"
  suspicion_mult = 3
}
performance {
  raft_multiplier = 1
}
# Only processes of the same machine ask it.
client_addr = "127.0.0.1"
