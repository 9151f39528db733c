-- audit_jobs: look whether each of these jobs is in its one place and has what its state promises,
-- and put right what can be.
--
-- uses  ledger append finish flow
-- KEYS  audit  HASH  pass|what, mended|what → jobs
-- ARGV  mend     int  1: put right and write down; 0: only say
--       rest...  jobs
-- Returns {job, what, mended, ...} for the jobs of which there is something to say; mended is 0
-- or 1. A waiting job without its entry is appended anew. An active one keeps its token and its
-- lease whatever was lost: the attempt under way goes on, and its settle is accepted.
local FIELDS = { 'state', 'lane', 'entry', 'lease', 'bare', 'due', 'end', 'code', 'callback', 'ends', 'flow' }
local TELL_TTL_MS = 60000 -- nearer to its end a record may be there without what belongs to it
local said = {}

local function say(id, what, fix)
  local mended = fix ~= nil and mend == '1'
  if mended then fix() end
  said[#said + 1], said[#said + 2], said[#said + 3] = id, what, mended and 1 or 0
  if mend == '1' then
    redis.call('HINCRBY', audit, (mended and 'mended|' or 'pass|') .. what, 1)
  end
end

-- Whose the job's entry is, if it is there. It may be another job's: a lane that was dropped and made
-- anew within a millisecond gives an id again.
local function owner(job)
  local stream = stream_ .. job.lane
  local entry = job.entry and redis.call('EXISTS', stream) == 1
    and redis.call('XRANGE', stream, job.entry, job.entry)[1]
  return entry and entry[2][2]
end

-- The job's entry: gone, undelivered, delivered (and let go) or pending. Looks only: a missing
-- group is made by the sweeper, and until then nothing is delivered.
local function place(job)
  local stream = stream_ .. job.lane
  if owner(job) ~= job.id then return 'gone' end
  local pending = redis.pcall('XPENDING', stream, 'workers', job.entry, job.entry, 1)
  if pending.err then return 'undelivered' end
  if #pending == 1 then return 'pending' end
  local after = '(' .. last_delivered(stream)
  return #redis.call('XRANGE', stream, after, job.entry, 'COUNT', 1) == 1 and 'undelivered' or 'delivered'
end

local function drop_entry(job)
  redis.call('XACK', stream_ .. job.lane, 'workers', job.entry)
  redis.call('XDEL', stream_ .. job.lane, job.entry)
  reseat(job.lane, undelivered(job.lane, 1)[1])
  drop_if_empty(job.lane)
end

local function append_anew(job)
  redis.call('XACK', stream_ .. job.lane, 'workers', job.entry or '0-0') -- it may be gone and pending
  job.entry = append(job.id, job.lane)
  redis.call('HSET', job_ .. job.id, 'entry', job.entry)
end

local function hold(job)
  last_delivered(stream_ .. job.lane) -- makes a missing group anew
  redis.call('XCLAIM', stream_ .. job.lane, 'workers', job.worker or 'auditor', 0, job.entry, 'FORCE', 'JUSTID')
end

local function member(job)
  return job.lane .. '|' .. (job.entry or '')
end

local function check_waiting(job)
  local at = place(job)
  if at == 'undelivered' then return end
  say(job.id, 'entry ' .. at, function()
    if at ~= 'gone' then drop_entry(job) end
    append_anew(job)
  end)
end

local function check_active(job)
  local pool, at = leases_ .. (job.pool or job.class), place(job)
  local deadline = redis.call('ZSCORE', pool, member(job))
  if at == 'gone' then
    say(job.id, 'entry gone', function()
      redis.call('ZREM', pool, member(job))
      append_anew(job)
      hold(job)
      redis.call('ZADD', pool, deadline or now, member(job))
    end)
  elseif at ~= 'pending' then
    say(job.id, 'entry not pending', function() hold(job) end)
  end
  if not deadline then
    say(job.id, 'no lease', function() redis.call('ZADD', pool, now, member(job)) end)
  end
end

local function wants(job, state)
  local wanted = string.match(job.callback or '', '%S+$')
  return wanted and string.find(',' .. wanted .. ',', ',' .. state .. ',', 1, true)
end

-- What a stage leaves is kept for as long as its flow.
local function lasts(job)
  return job.flow and redis.call('PTTL', flow_ .. job.flow) == -1
end

local function check_ended(job)
  local key, ttl = job_ .. job.id, redis.call('PTTL', job_ .. job.id)
  if ttl == -1 and not lasts(job) then
    say(job.id, 'no lifetime', function()
      local keep = job.state == 'dead' and dead_retention_ms or retention_ms
      for _, each in ipairs({ key, payload_ .. job.id, result_ .. job.id }) do
        redis.call('PEXPIRE', each, keep)
      end
    end)
  elseif ttl >= 0 and ttl < TELL_TTL_MS then
    return
  end
  if place(job) ~= 'gone' then
    say(job.id, 'ended, has an entry', function() drop_entry(job) end)
  end
  local pool = leases_ .. (job.pool or job.class)
  if redis.call('ZSCORE', pool, member(job)) and not owner(job) then
    say(job.id, 'ended, has a lease', function() redis.call('ZREM', pool, member(job)) end)
  end
  if redis.call('ZSCORE', due_ .. job.class, job.id) then
    say(job.id, 'ended, is due', function() redis.call('ZREM', due_ .. job.class, job.id) end)
  end
  if job.state == 'succeeded' then
    local has = redis.call('HEXISTS', job_ .. job.id, 'result') + redis.call('EXISTS', result_ .. job.id)
    if has == 0 then say(job.id, 'no result') end
  elseif not job.code then
    say(job.id, 'no error')
  end
  local young = now - (job['end'] or now) < retention_ms - TELL_TTL_MS
  if young and wants(job, job.state) then
    local id = 'msg_' .. string.sub(redis.sha1hex(job.id .. ':' .. (job.ends or 1)), 1, 26)
    if redis.call('EXISTS', callback_ .. id) == 0 then say(job.id, 'no callback') end
  end
end

local function check(job)
  if job.state == 'waiting' then
    check_waiting(job)
  elseif job.state == 'active' then
    check_active(job)
  elseif job.state == 'delayed' then
    if not redis.call('ZSCORE', due_ .. job.class, job.id) then
      say(job.id, 'not due', function()
        redis.call('ZADD', due_ .. job.class, job.due or now, job.id)
      end)
    end
  elseif job.state == 'blocked' then
    if redis.call('SISMEMBER', blocked, job.id) == 0 then
      say(job.id, 'not blocked', function() redis.call('SADD', blocked, job.id) end)
    end
  else
    check_ended(job)
  end
  if job.state == 'waiting' or job.state == 'active' then
    if redis.call('SISMEMBER', streams_ .. job.class, job.lane) == 0 then
      say(job.id, 'lane not listed', function() redis.call('SADD', streams_ .. job.class, job.lane) end)
    end
  end
end

for i = rest, #ARGV do
  local id = ARGV[i]
  local kind = redis.call('TYPE', job_ .. id).ok
  if kind == 'hash' then
    local lane = redis.call('HGET', job_ .. id, 'lane')
    if lane and lane_parts(lane) then
      local job = read_job(id, FIELDS)
      if job then check(job) else say(id, 'no state') end
    else
      say(id, 'no lane')
    end
  elseif kind ~= 'none' then
    say(id, 'no record')
  end
end
return said
