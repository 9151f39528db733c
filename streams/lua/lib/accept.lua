-- accept: how a job comes into being. Needs ledger and append.
--
-- KEYS  job_       HASH    by job
--       payload_   STRING  by job
--       due_       ZSET    by class
--       expiring   ZSET    jobs by the time they expire unless started
--       blocked    SET     jobs that wait for other jobs
--       apps       SET     apps that ever submitted
--       result_    STRING  by job
--       ended_     ZSET    by app
--       dead_      ZSET    by app
--       flows_     ZSET    by app: its flows by when they were submitted
--       unique_    STRING  by app|name: the job that has this unique key
-- A row is id, lane, payload, limits (nothing for the usual ones), delay_ms, run_at_ms, expires_ms,
-- callback, tags, trace, digest, unique: nothing, or mode (refuse, existing, replace), window_ms (0:
-- until the job ends), name.
local ROW = 12
local OPTIONAL = { 'callback', 'tags', 'trace', 'digest', 'unique' } -- from the eighth on
local seen_apps = {}
local replace -- ends the job whose place another takes: submit_replacing defines it
local LIVE = { delayed = true, waiting = true, blocked = true, active = true }

-- Gives the job its unique key. Says who has it and how that job stands, where that forbids it. A key
-- with a lifetime is held for so long, one without while its job lives, whatever lost its release.
local function claim(id, app, unique)
  local mode, window, name = string.match(unique, '^(%S+) (%S+) (%S+)$')
  local key = unique_ .. app .. '|' .. name
  local holder = redis.call('GET', key)
  local state = holder and holder ~= id and redis.call('HGET', job_ .. holder, 'state')
  local taken = state and (LIVE[state] or redis.call('PTTL', key) >= 0)
  if taken and mode ~= 'replace' then return holder, state end
  if window == '0' then redis.call('SET', key, id) else redis.call('SET', key, id, 'PX', window) end
  if taken and (state == 'waiting' or state == 'delayed') then replace(holder, id) end
end

-- Where a new job waits; sets the fields that say so.
local function place(id, lane, class, due, set)
  if due > now then
    set('due', due)
    local head = redis.call('ZRANGE', due_ .. class, 0, 0, 'WITHSCORES')[2]
    redis.call('ZADD', due_ .. class, due, id)
    if not head or tonumber(head) > due then ring(class) end
    return 'delayed'
  end
  set('entry', append(id, lane))
  return 'waiting'
end

-- Stores the job of the row that begins at `i`, in its place, or `blocked` where `flow` and `stage`
-- are given and `open` is not. Returns its state and 1; or that of a job with this id and 0, or 2
-- where that job has another digest; or `holder state` and 3, where another job has its unique key:
-- any of these changes nothing.
local function accept(row, i, flow, stage, open)
  local id, lane, payload = row[i], row[i + 1], row[i + 2]
  local there = redis.call('HMGET', job_ .. id, 'state', 'digest')
  if there[1] then
    local other = there[2] and row[i + 10] ~= '' and there[2] ~= row[i + 10]
    return there[1], other and 2 or 0
  end
  local delay, run_at, expires = tonumber(row[i + 4]), tonumber(row[i + 5]), tonumber(row[i + 6])
  local class, app, _, processor = lane_parts(lane)
  if row[i + 11] ~= '' then
    local holder, its = claim(id, app, row[i + 11])
    if holder then return holder .. ' ' .. its, 3 end
  end
  local fields = { 'lane', lane, 'at', now_text, 'size', whole(#payload) }
  local function set(name, value)
    fields[#fields + 1], fields[#fields + 2] = name, value
  end
  if row[i + 3] ~= '' then set('limits', row[i + 3]) end
  redis.call('SET', payload_ .. id, payload)
  local state
  if flow and not open then
    state = 'blocked'
    redis.call('SADD', blocked, id)
  else
    state = place(id, lane, class, run_at > 0 and run_at or (delay > 0 and now + delay or 0), set)
  end
  set('state', state)
  local more = processor == 'flow' -- which will have parts
  if flow then
    set('flow', flow)
    set('stage', stage)
    more = true
  end
  if expires > 0 then
    set('expires', expires)
    redis.call('ZADD', expiring, expires, id)
    more = true
  end
  for offset, name in ipairs(OPTIONAL) do
    if row[i + 6 + offset] ~= '' then
      set(name, row[i + 6 + offset])
      more = more or name ~= 'digest'
    end
  end
  if not more then set('bare', '1') end -- read_job() need not look for any of these
  redis.call('HSET', job_ .. id, unpack(fields))
  if processor == 'flow' then redis.call('ZADD', flows_ .. app, now_text, id) end
  if not seen_apps[app] then
    seen_apps[app] = true
    redis.call('SADD', apps, app)
  end
  move(lane, nil, state)
  tally('submitted', lane)
  event('submitted', id, lane, state, 0)
  return state, 1
end

-- Makes a job that has ended runnable again, as if just submitted: `waiting`, or `blocked`. Says what
-- its state was where that forbids it.
local function revive(id, to)
  local key = job_ .. id
  local row = redis.call('HMGET', key, 'state', 'lane', 'parts', 'unique', 'lease', 'end',
    'code', 'error')
  local state, lane = row[1], row[2]
  if state ~= 'dead' and state ~= 'cancelled' and state ~= 'expired' then return state end
  local class, app = lane_parts(lane)
  if row[4] and string.find(row[4], ' 0 ', 1, true) then
    local name = string.match(row[4], '%S+$')
    if claim(id, app, 'refuse 0 ' .. name) then return 'taken' end
  end
  if row[5] then
    local was = {}
    read_lease(row[5], was)
    keep_attempt(id, was.attempt, state, row[6], row[7], row[8])
    was.token = ''
    redis.call('HSET', key, 'lease', lease_text(was))
  end
  redis.call('HDEL', key, 'failures', 'crashes', 'code', 'error', 'cancel', 'end', 'prev', 'due',
    'expires', 'progress', 'note', 'result')
  redis.call('HSET', key, 'state', to)
  if row[3] then redis.call('HINCRBY', key, 'rounds', 1) end -- its stages are stored anew
  if to == 'waiting' then
    redis.call('HSET', key, 'entry', append(id, lane))
  else
    redis.call('SADD', blocked, id)
  end
  redis.call('PERSIST', key)
  redis.call('PERSIST', payload_ .. id)
  redis.call('DEL', result_ .. id)
  redis.call('ZREM', (state == 'dead' and dead_ or ended_) .. app, id)
  move(lane, state, to)
  tally('replayed', lane)
  event('submitted', id, lane, to, 0, 'replayed=' .. state)
  return nil
end
