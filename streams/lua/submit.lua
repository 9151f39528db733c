-- submit: accept many jobs in one call.
--
-- uses  ledger append
-- KEYS  job_       HASH    by job
--       payload_   STRING  by job
--       due_       ZSET    by class
--       expiring   ZSET    jobs by the time they expire unless started
--       apps       SET     apps that ever submitted
--       shipped    HASH    gateway → sequence of its journal that Redis has
-- ARGV  gateway    str     whose journal this comes from, empty for none
--       sequence   int     the journal's sequence of the last job
--       known      int     what the gateway believes that `shipped` holds, -1 not to compare
--       jobs...    id, lane, payload, limits, delay_ms, run_at_ms, expires_ms, callback, tags,
--                  trace, digest
-- Returns one of {state, created} per job, flat: created 1, or 0 for an id that exists, or 2 for one
-- that exists with another digest; either changes nothing. {moved, shipped}, and nothing done, when
-- the gateway believes something else: Redis lost its tail, and raising `shipped` would hide that.
-- Redis at maxmemory refuses the first write, and so the whole call.
local FRESH = 11
local answers, seen_apps = {}, {}
local has = gateway ~= '' and tonumber(redis.call('HGET', shipped, gateway) or 0)
if has and tonumber(known) >= 0 and has ~= tonumber(known) then return { 'moved', has } end

for i = jobs, #ARGV, FRESH do
  local id, lane, payload, limits = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key = job_ .. id
  local digest = ARGV[i + 10]
  local there = redis.call('HMGET', key, 'state', 'digest')
  local state = there[1]
  if state then
    local other = there[2] and digest ~= '' and there[2] ~= digest
    answers[#answers + 1], answers[#answers + 2] = state, other and 2 or 0
  else
    local delay, run_at, expires = tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6])
    local due = run_at > 0 and run_at or (delay > 0 and now + delay or 0)
    local class, app = lane_parts(lane)
    local fields = { 'lane', lane, 'at', now_text, 'limits', limits, 'size', #payload }
    local function set(name, value)
      if value and value ~= '' then
        fields[#fields + 1], fields[#fields + 2] = name, value
      end
    end
    redis.call('SET', payload_ .. id, payload)
    if due > now then
      state = 'delayed'
      set('due', due)
      local head = redis.call('ZRANGE', due_ .. class, 0, 0, 'WITHSCORES')[2]
      redis.call('ZADD', due_ .. class, due, id)
      if not head or tonumber(head) > due then ring(class) end
    else
      state = 'waiting'
      set('entry', append(id, lane))
    end
    set('state', state)
    if expires > 0 then
      set('expires', expires)
      redis.call('ZADD', expiring, expires, id)
    end
    set('callback', ARGV[i + 7])
    set('tags', ARGV[i + 8])
    set('trace', ARGV[i + 9])
    set('digest', digest)
    redis.call('HSET', key, unpack(fields))
    if not seen_apps[app] then
      seen_apps[app] = true
      redis.call('SADD', apps, app)
    end
    move(class, app, nil, state)
    add(moves, class .. '|submitted', 1)
    event('submitted', id, lane, state, 0)
    answers[#answers + 1], answers[#answers + 2] = state, 1
  end
end
if has and tonumber(sequence) > has then
  redis.call('HSET', shipped, gateway, sequence)
end
close()
return answers
