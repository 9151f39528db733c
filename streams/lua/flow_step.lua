-- flow_step: take steps of flows that earlier calls had no room for.
--
-- uses  ledger append finish flow
-- KEYS  gate  -  deleted first: a write that needs no memory opens the script at maxmemory
-- ARGV  count int  steps to begin with, at most
-- Returns how many are left.
redis.call('DEL', gate)
for _ = 1, count do
  local stored = redis.call('LPOP', flow_steps)
  if not stored then break end
  local parts = {}
  for part in string.gmatch(stored, '%S+') do parts[#parts + 1] = part end
  if parts[1] == round_of(parts[2]) then step(unpack(parts, 2)) end
end
close()
return redis.call('LLEN', flow_steps)
