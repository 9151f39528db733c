-- finish: how a job ends, whoever ends it. Needs ledger and append.
--
-- KEYS  job_       HASH    by job
--       payload_   STRING  by job
--       result_    STRING  by job
--       staged_    STRING  by job:token
--       leases_    ZSET    by pool: lane|entry by deadline
--       due_       ZSET    by class
--       blocked    SET     jobs waiting for others
--       expiring   ZSET    jobs by the time they expire unless started
--       ended_     ZSET    by app
--       dead_      ZSET    by app
--       callback_  HASH    by callback: frozen values
--       callback_counts  HASH  recorded, delivered, dead
--       unique_    STRING  by app|name: the job that has this unique key
-- SETS  retention_ms       int  how long an ended job is kept
--       dead_retention_ms  int  how long a dead letter is kept
--       crashes_max        int  deaths of a worker that make a job a dead letter
--       callback_inline_max_bytes  int  larger results are sent as a link
-- Order of the writes of one end: callback record, result, state, counters, event; the entry is
-- let go last, by close().
local advance, stop_stages -- how an end moves a flow: flow.lua defines them
-- What few jobs have, of what a take and the settle of a result need. A record without any of it is bare.
local MORE_TO_RUN = { 'failures', 'expires', 'tags', 'trace', 'flow', 'stage' }
local MORE_TO_END = { 'callback', 'ends', 'flow', 'stage', 'parts', 'unique' }
local EVERY = { 'state', 'lane', 'entry', 'lease', 'bare', 'failures', 'cancel', 'crashes', 'prev', 'expires',
  'callback', 'ends', 'limits', 'at', 'size', 'tags', 'trace', 'flow', 'stage', 'parts', 'unique' }

local OLD_LEASE = { 'attempt', 'token', 'pool', 'start', 'worker' } -- before it was one field

local function read_fields(job, fields)
  for i, value in ipairs(redis.call('HMGET', job_ .. job.id, unpack(fields))) do
    if value then job[fields[i]] = value end
  end
end

-- A job's record, or the fields of it that are needed, beside those that `job` has; nil for none.
local function read_job(id, fields, job)
  job = job or { id = id }
  read_fields(job, fields or EVERY)
  if not job.state then return nil end
  if job.lease then
    read_lease(job.lease, job)
  elseif not job.bare then
    read_fields(job, OLD_LEASE)
  end
  job.class, job.app = lane_parts(job.lane)
  return job
end

-- What the settle of a result needs of a job; nil for none.
local function read_done(id)
  local row = redis.call('HMGET', job_ .. id, 'bare', 'state', 'lane', 'entry', 'lease')
  if not row[2] then return nil end
  local job = { id = id, bare = row[1], state = row[2], lane = row[3], entry = row[4], lease = row[5] }
  if not job.bare or not job.lease then return read_job(id, MORE_TO_END, job) end
  job.attempt, job.token, job.pool = string.match(job.lease, '^(%d+)\t([^\t]*)\t([^\t]*)')
  job.class, job.app = lane_parts(job.lane)
  return job
end

local leased, freed, released, ended, dead = {}, {}, {}, {}, {}
local KEEP, KEEP_DEAD = whole(retention_ms), whole(dead_retention_ms)

local function push(lists, key, first, second)
  local list = lists[key]
  if not list then
    list = {}
    lists[key] = list
  end
  list[#list + 1] = first
  if second then list[#list + 1] = second end
end

-- Gathers the entry of an active job for XACK + XDEL, and its lease for ZREM.
local function let_go(job)
  push(released, job.lane, job.entry)
  push(freed, job.pool, job.lane .. '|' .. job.entry)
end

-- The later of two entry ids that Redis made: their milliseconds have as many digits.
local function later(a, b)
  if #a ~= #b then return #a > #b and a or b end
  return a > b and a or b
end

-- Deletes entries of a lane that were acknowledged, all that are given. XDEL walks half a node of the
-- stream for each; where nothing else is left up to the newest, one XTRIM walks that node once. That
-- nothing is: the group has delivered all of it, and none of it is pending.
local TRIM_FROM = 5

local function delete(lane, entries, acknowledged)
  local stream, newest = stream_ .. lane, entries[1]
  if #entries >= TRIM_FROM and acknowledged == #entries then
    for _, entry in ipairs(entries) do newest = later(newest, entry) end
    local delivered = last_delivered(stream)
    if later(newest, delivered) == delivered
        and #redis.call('XPENDING', stream, 'workers', '-', newest, '1') == 0 then
      local ms, sequence = string.match(newest, '^(%d+)-(%d+)$')
      local after = ms .. '-' .. whole(sequence + 1)
      if redis.call('XTRIM', stream, 'MINID', after) == #entries then return end
    end
  end
  redis.call('XDEL', stream, unpack(entries))
end

at_close[#at_close + 1] = function()
  for pool, list in pairs(leased) do
    -- Backwards: Redis looks for each one's place from the front.
    local rows = {}
    for i = #list, 2, -2 do
      rows[#rows + 1], rows[#rows + 2] = list[i - 1], list[i]
    end
    redis.call('ZADD', leases_ .. pool, unpack(rows))
  end
  for app, list in pairs(ended) do redis.call('ZADD', ended_ .. app, unpack(list)) end
  for app, list in pairs(dead) do redis.call('ZADD', dead_ .. app, unpack(list)) end
  for pool, list in pairs(freed) do redis.call('ZREM', leases_ .. pool, unpack(list)) end
  for lane, list in pairs(released) do
    delete(lane, list, redis.call('XACK', stream_ .. lane, 'workers', unpack(list)))
    drop_if_empty(lane)
  end
end

-- Takes a job out of the one place where it is: entry, pending entry, due set or blocked set.
local function remove(job)
  if job.state == 'active' then
    let_go(job)
  elseif job.state == 'waiting' then
    redis.call('XDEL', stream_ .. job.lane, job.entry)
    reseat(job.lane, undelivered(job.lane, 1)[1])
    drop_if_empty(job.lane)
  elseif job.state == 'delayed' then
    redis.call('ZREM', due_ .. job.class, job.id)
  elseif job.state == 'blocked' then
    redis.call('SREM', blocked, job.id)
  end
end

-- Freezes what the app will be told. The id is made from job and ending, so that it survives a
-- rollback of Redis: the n-th ending of a job always has the same webhook-id.
local function record_callback(job, state, code, message, result, size)
  local url, endpoint, wanted = string.match(job.callback, '^(%S+) (%S+) (%S+)$')
  if not string.find(',' .. wanted .. ',', ',' .. state .. ',', 1, true) then return end
  local id = 'msg_' .. string.sub(redis.sha1hex(job.id .. ':' .. job.ends), 1, 26)
  local _, _, _, processor = lane_parts(job.lane)
  local more = redis.call('HMGET', job_ .. job.id, 'at', 'tags', 'trace')
  redis.call('HSET', callback_ .. id, 'job', job.id, 'app', job.app, 'processor', processor,
    'state', state, 'attempt', job.attempt or 0, 'at', more[1], 'start', job.start or 0, 'end', now_text,
    'code', code or '', 'error', message or '', 'size', size,
    'result', size <= callback_inline_max_bytes and result or '',
    'url', url, 'endpoint', endpoint, 'sequence', job.ends, 'tags', more[2] or '',
    'trace', more[3] or '', 'status', 'waiting', 'tries', 0)
  enlist(endpoint, id)
  redis.call('HINCRBY', callback_counts, 'recorded', 1)
  redis.call('HINCRBY', callback_counts, 'waiting', 1)
end

-- Lets the job's unique key go, but one that is held for a while whatever becomes of the job.
local function release(job)
  local window, name = string.match(job.unique, '^%S+ (%S+) (%S+)$')
  local key = unique_ .. job.app .. '|' .. name
  if window == '0' and redis.call('GET', key) == job.id then redis.call('DEL', key) end
end

-- Keeps a result, JSON bytes: a small one in the record, which is one command and one key less. Others read
-- those of stages by their keys.
local RECORD_RESULT_MAX = 64 -- bytes; a longer value would make the record a table of four times the size

local function keep_result(id, result, keep, fields)
  if keep and #result <= RECORD_RESULT_MAX then
    fields[#fields + 1], fields[#fields + 2] = 'result', result
  elseif keep then
    redis.call('SET', result_ .. id, result, 'PX', keep)
  else
    redis.call('SET', result_ .. id, result)
  end
end

-- Ends a job that read_job() or read_done() returned. `result` is JSON bytes, or nil; `staged` names a staged
-- result's token instead. The caller has made sure that the job has not ended. What a stage leaves
-- has no TTL before its flow ends: others may read it.
local function finish(job, state, code, message, result, staged)
  local id, key, keep = job.id, job_ .. job.id, state == 'dead' and KEEP_DEAD or KEEP
  if job.flow then keep = nil end
  job.ends = job.ends and job.ends + 1 or 1
  remove(job)
  if staged then
    redis.call('RENAME', staged_ .. id .. ':' .. staged, result_ .. id)
    if keep then redis.call('PEXPIRE', result_ .. id, keep) else redis.call('PERSIST', result_ .. id) end
  end
  if job.callback then
    local size = staged and redis.call('STRLEN', result_ .. id) or #(result or '')
    if job.apart then size = callback_inline_max_bytes + 1 end
    record_callback(job, state, code, message, result, size)
  end
  local fields = { 'state', state, 'end', now_text }
  if result and not staged then keep_result(id, result, keep, fields) end
  if job.callback then fields[#fields + 1], fields[#fields + 2] = 'ends', job.ends end
  if code and code ~= '' then
    local n = #fields
    fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = 'code', code, 'error', message or ''
  end
  redis.call('HSET', key, unpack(fields))
  if keep then
    redis.call('PEXPIRE', key, keep)
    redis.call('PEXPIRE', payload_ .. id, keep)
  end
  if job.unique then release(job) end
  if job.expires and job.state ~= 'active' then redis.call('ZREM', expiring, id) end
  push(state == 'dead' and dead or ended, job.app, now_text, id)
  move(job.lane, job.state, state)
  tally(state, job.lane)
  event('ended', id, job.lane, state, job.attempt or 0, code and 'code=' .. code)
  job.state = state
  if job.flow then advance(job, code, message) end
  if job.parts then stop_stages(job, code, message) end
end

-- A lease of this job ran out and its worker is silent. Ends the job if somebody cancelled it or
-- if this was one death too many, and says whether it did. A lease that was handed back (its token
-- starts with `-`) is no death.
local function end_if_lost(job)
  local died = string.sub(job.token or '-', 1, 1) ~= '-'
  job.crashes = (job.crashes or 0) + (died and 1 or 0)
  job.died = died
  local code, message
  if job.cancel then
    finish(job, 'cancelled', 'cancelled', job.cancel)
  elseif job.crashes >= crashes_max then
    finish(job, 'dead', 'crashed', 'the worker died ' .. job.crashes .. ' times while it ran this job')
  else
    return false
  end
  redis.call('HSET', job_ .. job.id, 'crashes', job.crashes)
  if job.lease then
    job.token = ''
    redis.call('HSET', job_ .. job.id, 'lease', lease_text(job))
  end
  return true
end

-- A worker shows up with a token that was taken from it as if it had died: it had not.
local function forgive(job, token)
  if job.prev == token and job.crashes then
    redis.call('HINCRBY', job_ .. job.id, 'crashes', -1)
    redis.call('HDEL', job_ .. job.id, 'prev')
  end
end
